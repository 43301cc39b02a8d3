"""mmdet's RoI extractors: layers of RoIAlign on the levels of a feature pyramid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _validate
from ..ops.multiscale_roi_align import multiscale_roi_align
from ..torch.levels import box_side, levels_reached
from ._mmcv import PrRoIPool, RoIAlign, SimpleRoIAlign, check_rows
from ._module import DescribedModule

#: The layers that an extractor may be made of, by mmcv's names.
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "RoIAlign": RoIAlign,
    "PrRoIPool": PrRoIPool,
    "SimpleRoIAlign": SimpleRoIAlign,
}


class _RoIExtractor(DescribedModule):
    """One RoI layer per level, each made from `roi_layer` with the level's scale.

    `init_cfg`, how mmengine is to initialise weights, is kept and not read: these layers have none.
    """

    shown: ClassVar[tuple[str, ...]] = ("out_channels", "featmap_strides")

    def __init__(
        self, roi_layer: Mapping[str, Any], out_channels: int, featmap_strides: Sequence[int], init_cfg: Any
    ) -> None:
        super().__init__()
        self.init_cfg = init_cfg
        self.out_channels = out_channels
        self.featmap_strides = list(featmap_strides)
        arguments = dict(roi_layer)
        kind = arguments.pop("type", None)
        _validate.check_choice(kind, "roi_layer['type']", tuple(LAYERS))
        self.roi_layers = nn.ModuleList(
            [LAYERS[kind](spatial_scale=1 / stride, **arguments) for stride in featmap_strides]
        )

    @property
    def num_inputs(self) -> int:
        """The number of levels that are pooled from."""
        return len(self.featmap_strides)

    def roi_rescale(self, rois: Tensor, scale_factor: float) -> Tensor:
        """The rows with every box scaled by `scale_factor` about its centre."""
        centre = 0.5 * (rois[:, 1:3] + rois[:, 3:5])
        half = 0.5 * scale_factor * (rois[:, 3:5] - rois[:, 1:3])
        return torch.cat([rois[:, :1], centre - half, centre + half], 1)

    def _check_arguments(self, feats: Sequence[Tensor], rois: Tensor) -> None:
        if len(feats) != self.num_inputs:
            raise ValueError(f"feats: expected one map per stride ({self.num_inputs}), got {len(feats)}")
        check_rows(rois)

    def _check_channels(self, pooled: Tensor) -> Tensor:
        if pooled.shape[1] != self.out_channels:
            raise ValueError(f"out_channels: expected the {pooled.shape[1]} that are pooled, got {self.out_channels}")
        return pooled


class SingleRoIExtractor(_RoIExtractor):
    """mmdet's `SingleRoIExtractor`: each RoI from one level, by its size.

    Concretely, a box of area A is pooled from level ``floor(log2(sqrt(A) / finest_scale + 1e-6))``, clamped to the
    levels there are. `roi_layer` is a dict with the layer's `type` ("RoIAlign", "PrRoIPool" or "SimpleRoIAlign") and
    its arguments but the scale.
    """

    shown: ClassVar[tuple[str, ...]] = ("out_channels", "featmap_strides", "finest_scale")

    def __init__(
        self,
        roi_layer: Mapping[str, Any],
        out_channels: int,
        featmap_strides: Sequence[int],
        finest_scale: int = 56,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(roi_layer, out_channels, featmap_strides, init_cfg)
        self.finest_scale = finest_scale

    def map_roi_levels(self, rois: Tensor, num_levels: int) -> Tensor:
        """The level of each ``[K, 5]`` row, int64 ``[K]``."""
        target = torch.floor(torch.log2(box_side(rois[:, 1:5]) / self.finest_scale + 1e-6))
        return levels_reached(target, range(1, num_levels))

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Pool ``[K, 5]`` rows from the levels `feats`: ``[K, C, PH, PW]``.

        `roi_scale_factor` scales every box about its centre after its level is chosen; with one level it is not read,
        as in mmdet.
        """
        self._check_arguments(feats, rois)
        levels = self.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None and len(feats) > 1:
            rois = self.roi_rescale(rois, roi_scale_factor)
        layer: Any = self.roi_layers[0]
        if isinstance(layer, RoIAlign):
            pooled = multiscale_roi_align(
                list(feats),
                rois,
                layer.output_size,
                [1 / stride for stride in self.featmap_strides],
                max(layer.sampling_ratio, 0),
                levels=levels,
                mode=layer.pool_mode,
                aligned=layer.aligned,
            )
            return self._check_channels(pooled)
        pooled = feats[0].new_zeros(rois.shape[0], self.out_channels, *layer.output_size)
        for level, (layer, feature) in enumerate(zip(self.roi_layers, feats, strict=True)):
            rows = torch.nonzero(levels == level).flatten()
            pooled = pooled.index_copy(0, rows, layer(feature, rois[rows]))
        return pooled


class GenericRoIExtractor(_RoIExtractor):
    """mmdet's `GenericRoIExtractor`: each RoI from every level, summed or concatenated along the channels.

    `pre_cfg` and `post_cfg` are modules, run on the RoI features of each level before the aggregation and on the
    aggregate: where mmdet takes a dict, give ``mmcv.cnn.build_plugin_layer(cfg)[1]``.
    """

    shown: ClassVar[tuple[str, ...]] = ("out_channels", "featmap_strides", "aggregation")

    def __init__(
        self,
        aggregation: str = "sum",
        pre_cfg: Callable[[Tensor], Tensor] | None = None,
        post_cfg: Callable[[Tensor], Tensor] | None = None,
        *,
        roi_layer: Mapping[str, Any],
        out_channels: int,
        featmap_strides: Sequence[int],
        init_cfg: Any = None,
    ) -> None:
        super().__init__(roi_layer, out_channels, featmap_strides, init_cfg)
        _validate.check_choice(aggregation, "aggregation", ("sum", "concat"))
        self.aggregation = aggregation
        self.pre_module = _check_module(pre_cfg, "pre_cfg")
        self.post_module = _check_module(post_cfg, "post_cfg")

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Pool ``[K, 5]`` rows from every one of the levels `feats`: ``[K, out_channels, PH, PW]``."""
        self._check_arguments(feats, rois)
        if roi_scale_factor is not None and len(feats) > 1:
            rois = self.roi_rescale(rois, roi_scale_factor)
        pooled: list[Tensor] = [layer(feature, rois) for layer, feature in zip(self.roi_layers, feats, strict=True)]
        if len(pooled) == 1:
            return pooled[0]  # as in mmdet: nothing to aggregate, and neither module runs
        if self.pre_module is not None:
            pooled = [self.pre_module(part) for part in pooled]
        joined = torch.cat(pooled, 1) if self.aggregation == "concat" else sum(pooled[1:], pooled[0])
        aggregate = self._check_channels(joined)
        processed: Tensor = aggregate if self.post_module is None else self.post_module(aggregate)
        return processed


def _check_module(value: Any, name: str) -> Any:
    if value is not None and not callable(value):
        raise TypeError(
            f"{name}: expected a module, got {type(value).__name__}; build it with build_plugin_layer(cfg)[1]"
        )
    return value
