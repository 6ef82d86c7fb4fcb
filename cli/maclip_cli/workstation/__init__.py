"""The command `maclip`."""
