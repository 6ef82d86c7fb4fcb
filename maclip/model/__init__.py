"""The MA-CLIP model and its losses."""
