"""Formats beside the bundle's ONNX graphs: engines for RTX cards, a model repository for Triton."""
