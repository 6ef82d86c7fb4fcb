"""Write a trained model as a bundle of ONNX graphs and check it against torch."""
