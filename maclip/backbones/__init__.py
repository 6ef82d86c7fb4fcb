"""Frozen CLIP models: loading, checkpoints, image and text towers."""
