"""The command `maclip-run`."""
