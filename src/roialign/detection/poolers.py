"""Poolers: modules that turn proposals into features of fixed size. Every model takes one as an argument."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from .._pooling_rules import RULES
from ..torch import DeformRoIPoolPack, MultiScaleRoIAlign
from .pyramid_pooling import MultiScaleDeformRoIPool, MultiScaleModulatedDeformRoIPool, MultiScaleRoIPool

#: A function that makes a pooler from the output size and the scales of the maps.
PoolerFactory = Callable[[int, Sequence[float]], nn.Module]

#: The width of the layers that predict offsets. With 14 x 14 bins, the usual 1024 would need 51 million weights.
OFFSET_CHANNELS = 256
#: Arguments that are set by the model.
DECIDED = ("output_size", "spatial_scales", "output_channels")


class Pooler(NamedTuple):
    """A module class that pools all levels in one call, and its arguments other than those set by the model."""

    module: Callable[..., nn.Module]
    arguments: dict[str, Any]

    @property
    def learns(self) -> bool:
        """Whether it has weights, and therefore needs the number of channels."""
        return isinstance(self.module, type) and issubclass(self.module, DeformRoIPoolPack)


#: The poolers by name.
POOLERS: dict[str, Pooler] = {
    **{name: Pooler(MultiScaleRoIAlign, arguments) for name, arguments in RULES.items()},
    "pool": Pooler(MultiScaleRoIPool, {}),
    "deformable": Pooler(MultiScaleDeformRoIPool, {"sampling_ratio": 2, "deform_fc_channels": OFFSET_CHANNELS}),
    "deformable-modulated": Pooler(
        MultiScaleModulatedDeformRoIPool, {"sampling_ratio": 2, "deform_fc_channels": OFFSET_CHANNELS}
    ),
}


def make_pooler(pooler: str | PoolerFactory, output_size: int, strides: Sequence[int], channels: int) -> nn.Module:
    """Make a module that takes the feature maps and the boxes of each image, and pools all levels in one call.

    Concretely, ``make_pooler("exact", 7, (4, 8), 256)([map4, map8], [boxes0, boxes1])`` is
    ``multiscale_roi_align([map4, map8], [boxes0, boxes1], 7, [1 / 4, 1 / 8], sampling="exact")``.

    Parameters
    ----------
    pooler : str or function
        A name in :data:`POOLERS`, optionally with arguments of its module: ``"align:sampling_ratio=4,mode=max"``. Or a
        function that takes the output size and the scales and returns a module.
    output_size : int
        The number of bins along each axis.
    strides : sequence of int
        Image pixels per feature pixel of each map, finest first.
    channels : int
        The number of channels of the maps.

    Raises
    ------
    ValueError
        If the name or an argument is unknown.
    """
    scales = [1 / stride for stride in strides]
    if not isinstance(pooler, str):
        return pooler(output_size, scales)
    found = read_pooler(pooler)
    given = {"output_channels": channels} if found.learns else {}
    return found.module(output_size, spatial_scales=scales, **given, **found.arguments)


def read_pooler(text: str) -> Pooler:
    """Parse ``NAME`` or ``NAME:ARGUMENT=VALUE,...``."""
    name, _, rest = text.partition(":")
    if name not in POOLERS:
        raise ValueError(f"pooler: expected one of {', '.join(POOLERS)}, or a function, got {name!r}")
    module, arguments = POOLERS[name]
    known = [known for known in inspect.signature(module).parameters if known not in DECIDED]
    more: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        argument, sign, value = part.partition("=")
        if argument not in known or not sign:
            raise ValueError(f"pooler: {name}: expected ARGUMENT=VALUE of {', '.join(known)}, got {part!r}")
        more[argument] = _value(value)
    return Pooler(module, arguments | more)


def _value(text: str) -> Any:
    """Parse a number, true or false. Anything else stays text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
