"""The operators in the standard operators of ONNX, for `torch.onnx.export`."""
