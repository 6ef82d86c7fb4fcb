"""The ablation: what each part of the method brings on the generated clips, row by row. See docs/ablation.md."""
