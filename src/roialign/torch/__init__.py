"""roialign for PyTorch: the operators as modules. The functions of :mod:`roialign` take tensors themselves."""

from .modules import CropAndResize, MultiScaleRoIAlign, PrRoIPool, RoIAlign

__all__ = ["CropAndResize", "MultiScaleRoIAlign", "PrRoIPool", "RoIAlign"]
