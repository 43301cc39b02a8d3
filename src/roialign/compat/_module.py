"""Base classes of the modules that replace those of other packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import _validate
from ..ops.roi_align import roi_align
from ..torch.modules.scripting import NotScriptable
from ._calls import asserting, not_negative
from ._names import renaming


def empty_map() -> Tensor:
    """A map without channels, as an input that only checks the arguments of a module."""
    return torch.zeros((1, 0, 1, 1), device="cpu")


def whole(number: Any) -> Any:
    """Convert a float with an integer value to int. detectron2's own tests pass a sampling ratio of 0.0."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class DescribedModule(NotScriptable):
    """A module whose `repr` shows its arguments, as ``Name(first=..., second=...)``."""

    shown: ClassVar[tuple[str, ...]] = ()
    #: The number of columns of its rows of RoIs.
    columns: ClassVar[int] = 5

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


def check_arguments(module: DescribedModule, forward: Callable[..., Tensor], *inputs: Any) -> None:
    """Raise the errors of a call that do not depend on its tensors, by a call for no RoIs on a map of no channels.

    `forward` is that of the class that checks, because a subclass may override it and may not be ready for a call.
    `inputs` are its inputs, by default a map and rows of RoIs. Code that is being compiled checks when it runs.
    """
    if not torch.compiler.is_compiling():
        forward(module, *(inputs or (empty_map(), torch.zeros((0, module.columns), device="cpu"))))


class RoIAlignModule(DescribedModule):
    """RoIAlign on one map as a module, with the interface that torchvision and detectron2 share."""

    shown = ("output_size", "spatial_scale", "sampling_ratio", "aligned")

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        check_arguments(self, RoIAlignModule.forward)

    @asserting
    @renaming(features="input")
    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:
        size = _validate.check_output_size(self.output_size)
        points = not_negative(whole(self.sampling_ratio))
        return roi_align(input, rois, size, self.spatial_scale, points, aligned=self.aligned)
