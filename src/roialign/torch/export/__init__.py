"""The operators in the standard operators of ONNX, for `torch.onnx.export`."""

from .loops import scans_to_loops

__all__ = ["scans_to_loops"]
