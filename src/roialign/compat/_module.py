"""What the modules of other packages have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from .. import _validate
from ..ops.roi_align import roi_align


class DescribedModule(nn.Module):
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

    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:
        size = _validate.check_output_size(self.output_size)
        return roi_align(input, rois, size, self.spatial_scale, max(self.sampling_ratio, 0), aligned=self.aligned)
