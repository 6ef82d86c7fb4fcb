"""The two commands: `maclip` for the workstation, `maclip-run` for the device."""
