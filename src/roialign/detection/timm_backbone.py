"""Backbones from timm, with a feature pyramid if they have several maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .._extras import require
from .backbone import FeaturePyramid

#: The strides of the maps that are used. If several maps have the same stride, the last one is used.
STRIDES = (4, 8, 16, 32)


class TimmBackbone(nn.Module):
    """A timm model as a backbone, of which the maps with strides from 4 to 32 are used.

    Concretely, the maps go through a feature pyramid with `out_channels` channels, and a coarser map is added for
    proposals. If the model has only one map with such a stride, that map is returned unchanged.

    Parameters
    ----------
    name : str
        A name from `timm.list_models()`.
    out_channels : int, default 256
        The number of channels of the pyramid. A single map keeps its own number.
    pretrained : bool, default False
        Whether to download timm's pretrained weights.
    options :
        Further arguments of `timm.create_model`.

    Raises
    ------
    ModuleNotFoundError
        If timm is not installed.
    ValueError
        If the model is unknown or has no map with such a stride.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import TimmBackbone
    >>> backbone = TimmBackbone("resnet10t", out_channels=8)  # doctest: +SKIP
    >>> backbone.strides  # doctest: +SKIP
    (4, 8, 16, 32, 64)
    """

    def __init__(self, name: str, *, out_channels: int = 256, pretrained: bool = False, **options: Any) -> None:
        super().__init__()
        timm = _import_timm()
        if not timm.is_model(name):
            raise ValueError(f"backbone: expected a model of timm, got {name!r}")
        self.body = timm.create_model(name, features_only=True, pretrained=pretrained, **options)
        strides, channels = self.body.feature_info.reduction(), self.body.feature_info.channels()
        self.is_channels_last = getattr(self.body, "output_fmt", None) == "NHWC"  # of some models, such as Swin
        last = {stride: index for index, stride in enumerate(strides) if stride in STRIDES}
        if not last:
            raise ValueError(
                f"backbone: expected a map with a stride in {list(STRIDES)}, got {name} with strides {list(strides)}"
            )
        self.chosen = [last[stride] for stride in sorted(last)]
        self.channels: list[int] = [channels[index] for index in self.chosen]
        self.pooled_levels = len(self.chosen)
        self.fpn: FeaturePyramid | None = None
        self.strides: tuple[int, ...] = tuple(sorted(last))
        self.out_channels = self.channels[0]
        if len(self.chosen) > 1:
            self.strides += (2 * self.strides[-1],)
            self.out_channels = out_channels
            self.fpn = FeaturePyramid(self.channels, out_channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        every = self.body(images)
        maps = [every[index] for index in self.chosen]
        if self.is_channels_last:
            maps = [features.permute(0, 3, 1, 2).contiguous() for features in maps]
        if self.fpn is None:
            return maps
        maps = self.fpn(maps)
        return [*maps, functional.max_pool2d(maps[-1], 1, 2)]


def _import_timm() -> Any:
    require("timm", "timm")
    import timm

    return timm
