"""Export of the operators as standard ONNX operators, for `torch.onnx.export`."""
