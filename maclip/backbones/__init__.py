"""Frozen CLIPs: loading, checkpoints, image and text towers."""
