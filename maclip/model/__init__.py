"""The adapted model: a frozen CLIP, its adapters, and the losses."""
