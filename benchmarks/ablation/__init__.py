"""The ablation: what each part of the method brings on drawn clips, row by row (docs/ablation.md)."""
