"""The backbones of timm, with a feature pyramid where they have several maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .._extras import require
from .backbone import FeaturePyramid

#: Image pixels per pixel of the maps that are used; of several with one stride the last is.
STRIDES = (4, 8, 16, 32)


class TimmBackbone(nn.Module):
    """One of timm's models as a backbone: its maps of strides 4 to 32, as far as it has them.

    Concretely, the maps go through a feature pyramid of `out_channels`, and a coarser map for proposals is added. A
    model with a single one of these strides gives its map as it is.

    Parameters
    ----------
    name : str
        As `timm.list_models()` has it.
    out_channels : int, default 256
        Of the pyramid; a single map keeps its own.
    pretrained : bool, default False
        Download the weights that timm offers.
    options :
        Of `timm.create_model`.

    Raises
    ------
    ModuleNotFoundError
        Where timm is not installed.
    ValueError
        Where the model is unknown, or has no map of these strides.

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
            raise ValueError(f"backbone: timm has no model {name!r}")
        self.body = timm.create_model(name, features_only=True, pretrained=pretrained, **options)
        strides, channels = self.body.feature_info.reduction(), self.body.feature_info.channels()
        last = {stride: index for index, stride in enumerate(strides) if stride in STRIDES}
        if not last:
            raise ValueError(f"backbone: {name} has maps of strides {list(strides)}, none of {list(STRIDES)}")
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
        maps = [_channels_first(every[i], count) for i, count in zip(self.chosen, self.channels, strict=True)]
        if self.fpn is None:
            return maps
        maps = self.fpn(maps)
        return [*maps, functional.max_pool2d(maps[-1], 1, 2)]


def _channels_first(features: Tensor, channels: int) -> Tensor:
    """``[N, C, H, W]``: some of timm's models give ``[N, H, W, C]``."""
    return features if features.shape[1] == channels else features.permute(0, 3, 1, 2).contiguous()


def _import_timm() -> Any:
    require("timm", "timm")
    import timm

    return timm
