"""What the modules of other packages have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from .. import _validate
from ..ops.roi_align import roi_align
from ..torch.modules.scripting import NotScriptable
from ._calls import asserting


def whole(number: Any) -> Any:
    """The integer that a float is, where it is one: detectron2's own tests give a sampling ratio of 0.0."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class DescribedModule(NotScriptable):
    """A module whose `repr` shows the arguments it was made with, as ``Name(first=..., second=...)``."""

    shown: ClassVar[tuple[str, ...]] = ()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


class RoIAlignModule(DescribedModule):
    """RoIAlign on one map with its arguments held, as torchvision and detectron2 have it."""

    shown = ("output_size", "spatial_scale", "sampling_ratio", "aligned")

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    @asserting
    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:
        size = _validate.check_output_size(self.output_size)
        return roi_align(
            input, rois, size, self.spatial_scale, max(whole(self.sampling_ratio), 0), aligned=self.aligned
        )
