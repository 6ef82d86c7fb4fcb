"""Writing ONNX graphs: precision, quantisation, sessions."""
