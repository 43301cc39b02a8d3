"""roialign for PyTorch: the operators as modules. The functions of :mod:`roialign` take tensors themselves.

Importing this makes the custom ops known, which a program that was saved by `torch.export` needs to be loaded.
"""

from . import _levels, _separable  # noqa: F401
from .modules import CropAndResize, MultiScaleRoIAlign, PrRoIPool, RoIAlign

__all__ = ["CropAndResize", "MultiScaleRoIAlign", "PrRoIPool", "RoIAlign"]
