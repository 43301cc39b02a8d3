"""RoI layers of other packages, one per level of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._recording import recordable

#: What a call of a module runs besides the methods of its class: its hooks, and a `forward` that was set on it.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "forward")


def are_alike(layers: Sequence[Any]) -> bool:
    """Whether layers differ in nothing but their scales, and nothing has to see their calls."""
    first = layers[0]
    options = [name for name in first.shown if name != "spatial_scale"]
    return all(
        type(layer) is type(first)
        and not any(vars(layer).get(name) for name in HOOKS)
        and all(getattr(layer, name) == getattr(first, name) for name in options)
        for layer in layers
    )


def pool_level_by_level(layers: Sequence[nn.Module], maps: Sequence[Tensor], rois: Tensor, levels: Tensor) -> Tensor:
    """Pool each row of `rois` by the layer of its level, from the map of its level."""
    rows = [torch.nonzero(levels == level).flatten() for level in range(len(maps))]
    parts = [layer(feature, rois[chosen]) for layer, feature, chosen in zip(layers, maps, rows, strict=True)]
    return _in_order(parts, rows, rois)


@recordable
def _in_order(parts: list[Tensor], rows: list[Tensor], rois: Tensor) -> Tensor:
    """Join what was pooled from each level, in the order of the RoIs. `rows` are the rows of each level."""
    joined = torch.cat(parts)
    pooled = joined.new_zeros(rois.shape[0], *joined.shape[1:])  # as many rows as RoIs, without reading values
    return pooled.index_copy(0, torch.cat(rows), joined)
