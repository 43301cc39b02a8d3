"""Export of the operators as standard ONNX operators, for `torch.onnx.export`."""

from .loops import scans_to_loops

__all__ = ["scans_to_loops"]
