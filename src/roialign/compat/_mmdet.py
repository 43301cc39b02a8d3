"""mmdet's RoI extractors: RoI layers on the levels of a feature pyramid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import _validate
from .._recording import is_proxy
from ..ops.multiscale_roi_align import multiscale_roi_align
from ..ops.multiscale_roi_align_rotated import multiscale_roi_align_rotated
from ..torch.levels import box_side, levels_reached
from . import _mmcv_points as points
from ._calls import asserting, not_negative, peer
from ._containers import check_dict, items_of, level_maps
from ._level_layers import are_alike, pool_level_by_level
from ._mmcv import PrRoIPool, RoIAlign, SimpleRoIAlign, check_rows
from ._module import DescribedModule
from ._names import renaming

#: The RoI layers that an extractor can use, by mmcv's names.
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "RoIAlign": RoIAlign,
    "RoIPool": points.RoIPool,
    "PrRoIPool": PrRoIPool,
    "SimpleRoIAlign": SimpleRoIAlign,
    "DeformRoIPool": points.DeformRoIPool,
    "DeformRoIPoolPack": points.DeformRoIPoolPack,
    "ModulatedDeformRoIPoolPack": points.ModulatedDeformRoIPoolPack,
    "RoIAlignRotated": points.RoIAlignRotated,
    "RiRoIAlignRotated": points.RiRoIAlignRotated,
}
#: The layers for rotated boxes, with rows (image index, centre x, centre y, width, height, angle).
ROTATED = (points.RoIAlignRotated, points.RiRoIAlignRotated)


#: A factor for both sides of a box, or one for its height and one for its width, as in mmrotate.
ScaleFactor = float | tuple[float, float]


def _align(layer: Any, maps: list[Tensor], rois: Tensor, scales: list[float], levels: Tensor) -> Tensor:
    points = not_negative(layer.sampling_ratio)
    options: dict[str, Any] = {"levels": levels, "aligned": layer.aligned, "mode": layer.pool_mode}
    pooled: Tensor = multiscale_roi_align(maps, rois, layer.output_size, scales, points, **options)
    return pooled


def _align_rotated(layer: Any, maps: list[Tensor], rois: Tensor, scales: list[float], levels: Tensor) -> Tensor:
    points = not_negative(layer.sampling_ratio)
    options: dict[str, Any] = {"levels": levels, "aligned": layer.aligned, "clockwise": layer.clockwise}
    pooled: Tensor = multiscale_roi_align_rotated(maps, rois, layer.output_size, scales, points, **options)
    return pooled


#: The layers that have an operator for all levels of a pyramid, and its call.
IN_ONE_CALL: dict[type[nn.Module], Callable[..., Tensor]] = {
    RoIAlign: _align,
    points.RoIAlignRotated: _align_rotated,
}


def _is_number(value: object) -> bool:
    return is_proxy(value) or (isinstance(value, (float, int, np.number, Tensor)) and getattr(value, "ndim", 0) == 0)


def _check_factors(value: ScaleFactor, name: str) -> tuple[float, float]:
    """Return the factors for the height and the width of a box."""
    given = value if is_proxy(value) else _validate.as_list(value, name)
    pair = given if isinstance(given, (tuple, list)) else (given, given)
    if len(pair) != 2 or not all(map(_is_number, pair)):
        raise ValueError(f"{name}: expected a number or a pair (height, width), got {value!r}")
    return pair[0], pair[1]


class BaseRoIExtractor(DescribedModule):
    """mmdet's `BaseRoIExtractor`: one RoI layer per level, made from `roi_layer` and the scale of the level.

    A subclass defines `forward`. `init_cfg` tells mmengine how to initialise weights. It is stored and otherwise
    ignored.
    """

    shown: ClassVar[tuple[str, ...]] = ("out_channels", "featmap_strides")

    @asserting
    def __init__(
        self, roi_layer: Mapping[str, Any], out_channels: int, featmap_strides: Sequence[float], init_cfg: Any = None
    ) -> None:
        super().__init__()
        self.init_cfg = init_cfg
        self.out_channels = out_channels
        self.featmap_strides = items_of(featmap_strides, "featmap_strides", "a list with the stride of each map")
        if not self.featmap_strides:
            raise ValueError("featmap_strides: expected the stride of at least one map, got none")
        for level, stride in enumerate(self.featmap_strides):
            _validate.check_number(stride, f"featmap_strides[{level}]", positive=True)
        self.roi_layers = self.build_roi_layers(roi_layer, self.featmap_strides)

    @property
    def num_inputs(self) -> int:
        """The number of levels. A call may pass fewer feature maps, the finest first."""
        return len(self.featmap_strides)

    @asserting
    def build_roi_layers(self, layer_cfg: Mapping[str, Any], featmap_strides: Sequence[float]) -> nn.ModuleList:
        """Make one layer per stride. ``layer_cfg["type"]`` is the class of the layers or its name."""
        check_dict(layer_cfg, "roi_layer", "with the type of the layers and their arguments")
        arguments = dict(layer_cfg)
        kind = arguments.pop("type", None)
        if not callable(kind):
            _validate.check_choice(kind, "roi_layer['type']", tuple(LAYERS))
            kind = LAYERS[kind]
        return nn.ModuleList([kind(spatial_scale=1 / stride, **arguments) for stride in featmap_strides])

    def init_weights(self) -> None:
        """Do nothing. The heads of mmdet call it; the RoI layers that have weights initialise them when made."""

    @property
    def numbers(self) -> int:
        """The number of values per box: 4, or 5 for rotated boxes."""
        return 5 if isinstance(self.roi_layers[0], ROTATED) else 4

    @asserting
    def roi_rescale(self, rois: Tensor, scale_factor: ScaleFactor) -> Tensor:
        """Scale every box about its centre by a factor, or by factors for its height and width."""
        along_y, along_x = _check_factors(scale_factor, "scale_factor")
        if self.numbers == 5:
            return torch.cat([rois[:, :3], rois[:, 3:4] * along_x, rois[:, 4:5] * along_y, rois[:, 5:]], 1)
        centre = 0.5 * (rois[:, 1:3] + rois[:, 3:5])
        half = 0.5 * (rois[:, 3:5] - rois[:, 1:3])
        half = torch.cat([half[:, :1] * along_x, half[:, 1:] * along_y], 1)
        return torch.cat([rois[:, :1], centre - half, centre + half], 1)

    def _scaled(self, rois: Tensor, roi_scale_factor: ScaleFactor | None) -> Tensor:
        """Return the boxes scaled by the argument of `forward`, with `roi_rescale`, which a subclass may replace."""
        if roi_scale_factor is None:
            return rois
        _check_factors(roi_scale_factor, "roi_scale_factor")
        return self.roi_rescale(rois, roi_scale_factor)

    def _check_arguments(self, feats: Sequence[Tensor], rois: Tensor) -> list[Tensor]:
        levels = level_maps(feats, "feats", self.num_inputs)
        if not 1 <= len(levels) <= self.num_inputs:
            raise ValueError(
                f"feats: expected at least 1 and at most {self.num_inputs} maps (one per stride), got {len(levels)}"
            )
        if not is_proxy(rois):
            check_rows(rois, self.numbers)
        return levels


@peer()
def with_channels(pooled: Tensor, out_channels: int) -> Tensor:
    """Return `pooled`, after checking that it has `out_channels` channels."""
    if pooled.shape[1] != out_channels:
        raise ValueError(f"out_channels: expected {pooled.shape[1]}, the number of pooled channels, got {out_channels}")
    return pooled


class SingleRoIExtractor(BaseRoIExtractor):
    """mmdet's `SingleRoIExtractor`: pool each RoI from one level, chosen by its size.

    Concretely, a box of area A is pooled from level ``floor(log2(sqrt(A) / finest_scale + 1e-6))``, clamped to the
    levels that are passed to the call. `roi_layer` is a dict. Its `type` is a class or the name of a RoI layer of mmcv;
    its other entries are the arguments of the layer, without the scale. For a rotated layer, the rows of boxes have
    shape ``[K, 6]``.
    """

    shown: ClassVar[tuple[str, ...]] = ("out_channels", "featmap_strides", "finest_scale")

    @asserting
    def __init__(
        self,
        roi_layer: Mapping[str, Any],
        out_channels: int,
        featmap_strides: Sequence[float],
        finest_scale: int = 56,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(roi_layer, out_channels, featmap_strides, init_cfg)
        _validate.check_number(finest_scale, "finest_scale", positive=True)
        self.finest_scale = finest_scale

    def map_roi_levels(self, rois: Tensor, num_levels: int) -> Tensor:
        """Return the level of each ``[K, 5]`` row, an int64 tensor ``[K]``."""
        return levels_by_size(rois, self.finest_scale, num_levels)

    @asserting
    @renaming(features="feats", input="feats", mode="pool_mode")
    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: ScaleFactor | None = None) -> Tensor:
        """Pool ``[K, 5]`` rows from the levels `feats`, to a tensor ``[K, C, PH, PW]``.

        `roi_scale_factor`, a number or a pair (height, width), scales every box about its centre after its level has
        been chosen. As in mmdet, it is ignored if there is only one level.
        """
        maps = self._check_arguments(feats, rois)
        if len(maps) == 1:
            pooled: Tensor = self.roi_layers[0](maps[0], rois)
            return with_channels(pooled, self.out_channels)
        levels = self.map_roi_levels(rois, len(maps))
        rois = self._scaled(rois, roi_scale_factor)
        layers: list[Any] = [layer for layer, _ in zip(self.roi_layers, maps, strict=False)]
        in_one_call = IN_ONE_CALL.get(type(layers[0]))  # a subclass may compute something else
        if in_one_call is None or not are_alike(layers):
            return with_channels(pool_level_by_level(layers, maps, rois, levels), self.out_channels)
        scales = [layer.spatial_scale for layer in layers]
        return with_channels(in_one_call(layers[0], maps, rois, scales, levels), self.out_channels)


@peer()
def levels_by_size(rois: Tensor, finest_scale: float, num_levels: int) -> Tensor:
    """Assign rows of axis-aligned or rotated boxes to levels by mmdet's rule."""
    target = torch.floor(torch.log2(box_side(rois[:, 1:]) / finest_scale + 1e-6))
    return levels_reached(target, range(1, num_levels))


class GenericRoIExtractor(BaseRoIExtractor):
    """mmdet's `GenericRoIExtractor`: pool each RoI from every level, and sum or concatenate the results.

    `pre_cfg` is a module that is applied to the RoI features of each level before the aggregation. `post_cfg` is
    applied to the aggregate. mmdet takes a dict for both; here, pass ``mmcv.cnn.build_plugin_layer(cfg)[1]``.
    `with_pre` and `with_post` tell whether they are present.
    """

    shown: ClassVar[tuple[str, ...]] = ("out_channels", "featmap_strides", "aggregation")

    @asserting
    def __init__(
        self,
        aggregation: str = "sum",
        pre_cfg: Callable[[Tensor], Tensor] | None = None,
        post_cfg: Callable[[Tensor], Tensor] | None = None,
        *,
        roi_layer: Mapping[str, Any],
        out_channels: int,
        featmap_strides: Sequence[float],
        init_cfg: Any = None,
    ) -> None:
        super().__init__(roi_layer, out_channels, featmap_strides, init_cfg)
        _validate.check_choice(aggregation, "aggregation", ("sum", "concat"))
        self.aggregation = aggregation
        self.with_pre, self.with_post = pre_cfg is not None, post_cfg is not None
        self.pre_module = _check_module(pre_cfg, "pre_cfg")
        self.post_module = _check_module(post_cfg, "post_cfg")

    @asserting
    @renaming(features="feats", input="feats", mode="pool_mode")
    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: ScaleFactor | None = None) -> Tensor:
        """Pool ``[K, 5]`` rows from each of the levels `feats`, to a tensor ``[K, out_channels, PH, PW]``."""
        maps = self._check_arguments(feats, rois)
        if len(maps) > 1:
            rois = self._scaled(rois, roi_scale_factor)
        pooled: list[Tensor] = [layer(feature, rois) for layer, feature in zip(self.roi_layers, maps, strict=False)]
        if len(pooled) == 1:
            return pooled[0]  # as in mmdet: with one level there is no aggregation, and neither module runs
        if self.pre_module is not None:
            pooled = [self.pre_module(part) for part in pooled]
        joined = torch.cat(pooled, 1) if self.aggregation == "concat" else sum(pooled[1:], pooled[0])
        aggregate = with_channels(joined, self.out_channels)
        processed: Tensor = aggregate if self.post_module is None else self.post_module(aggregate)
        return processed


def _check_module(value: Any, name: str) -> Any:
    if value is not None and not callable(value):
        raise TypeError(
            f"{name}: expected a module, got {type(value).__name__}; build it with build_plugin_layer(cfg)[1]"
        )
    return value
