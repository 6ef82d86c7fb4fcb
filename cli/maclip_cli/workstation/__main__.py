"""`python -m maclip_cli.workstation`."""

from maclip_cli.workstation.app import main

main()
