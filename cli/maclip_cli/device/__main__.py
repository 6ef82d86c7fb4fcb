"""`python -m maclip_cli.device`."""

from maclip_cli.device.app import main

main()
