"""ONNX files: export from torch, lower precision, contents, and exact sessions."""
