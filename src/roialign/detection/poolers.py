"""Poolers: modules that turn proposals into features of fixed size. Every model takes one as an argument."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._pooling_rules import RULES
from ..torch import DeformRoIPoolPack, MultiScaleRoIAlign, MultiScaleRoIAlignRotated
from .pyramid_pooling import MultiScaleDeformRoIPool, MultiScaleModulatedDeformRoIPool, MultiScaleRoIPool
from .rotated_boxes import hulls

#: A function that makes a pooler from the output size and the scales of the maps.
PoolerFactory = Callable[[int, Sequence[float]], nn.Module]

#: The width of the layers that predict offsets. With 14 x 14 bins, the usual 1024 would need 51 million weights.
OFFSET_CHANNELS = 256
#: Arguments that are set by the model. The angles of its boxes are clockwise.
DECIDED = ("output_size", "spatial_scales", "output_channels", "clockwise")


class Pooler(NamedTuple):
    """A module class that pools all levels in one call, and its arguments other than those set by the model."""

    module: Callable[..., nn.Module]
    arguments: dict[str, Any]

    @property
    def learns(self) -> bool:
        """Whether it has weights, and therefore needs the number of channels."""
        return isinstance(self.module, type) and issubclass(self.module, DeformRoIPoolPack)

    @property
    def rotated(self) -> bool:
        """Whether it pools rotated boxes."""
        return isinstance(self.module, type) and issubclass(self.module, MultiScaleRoIAlignRotated)


class HullPooler(nn.Module):
    """A pooler of rotated boxes that pools their upright hulls by another pooler.

    Concretely, ``HullPooler(pooler)(maps, [boxes0, boxes1])`` is ``pooler(maps, [hulls(boxes0), hulls(boxes1)])``, with
    :func:`roialign.detection.rotated_boxes.hulls`.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import HullPooler, make_pooler
    >>> pooler = HullPooler(make_pooler("exact", 7, [4], 8))
    >>> pooler([torch.ones(1, 8, 16, 16)], [torch.tensor([[32.0, 32.0, 40.0, 10.0, 0.5]])]).shape
    torch.Size([1, 8, 7, 7])
    """

    def __init__(self, pooler: nn.Module) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        pooled: Tensor = self.pooler(maps, [hulls(of_image) for of_image in boxes])
        return pooled


#: The poolers by name.
POOLERS: dict[str, Pooler] = {
    **{name: Pooler(MultiScaleRoIAlign, arguments) for name, arguments in RULES.items()},
    "pool": Pooler(MultiScaleRoIPool, {}),
    "deformable": Pooler(MultiScaleDeformRoIPool, {"sampling_ratio": 2, "deform_fc_channels": OFFSET_CHANNELS}),
    "deformable-modulated": Pooler(
        MultiScaleModulatedDeformRoIPool, {"sampling_ratio": 2, "deform_fc_channels": OFFSET_CHANNELS}
    ),
    "rotated": Pooler(MultiScaleRoIAlignRotated, {"sampling_ratio": 2, "clockwise": True}),
    "rotated-adaptive": Pooler(MultiScaleRoIAlignRotated, {"sampling_ratio": 0, "clockwise": True}),
}


def make_pooler(
    pooler: str | PoolerFactory, output_size: int, strides: Sequence[int], channels: int, *, rotated: bool = False
) -> nn.Module:
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
    rotated : bool, default False
        Whether the boxes are rotated ``[L, 5]``. The poolers whose names do not begin with "rotated" then pool the
        upright hulls of the boxes.

    Raises
    ------
    ValueError
        If the name or an argument is unknown, if the value of an argument is invalid, or if the pooler needs rotated
        boxes and `rotated` is False.
    TypeError
        If `pooler` is neither a name nor a function that returns a module.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import make_pooler
    >>> pooler = make_pooler("align:sampling_ratio=4", 7, (4, 8), 16)
    >>> maps = [torch.rand(1, 16, 16, 16), torch.rand(1, 16, 8, 8)]
    >>> pooler(maps, [torch.tensor([[0.0, 0.0, 32.0, 32.0], [8.0, 8.0, 60.0, 40.0]])]).shape
    torch.Size([2, 16, 7, 7])
    """
    scales = [1 / stride for stride in strides]
    if not isinstance(pooler, str):
        if isinstance(pooler, nn.Module) or not callable(pooler):
            expected = "a name, or a function of the output size and the scales that returns a module"
            raise TypeError(f"pooler: expected {expected}, got {type(pooler).__name__}")
        made = pooler(output_size, scales)
        if not callable(made):
            raise TypeError(f"pooler: expected the function to return a module, got {type(made).__name__}")
        return made
    found = read_pooler(pooler, rotated=rotated)
    given = {"output_channels": channels} if found.learns else {}
    try:
        module = found.module(output_size, spatial_scales=scales, **given, **found.arguments)
        _pool_nothing(module, [torch.zeros(1, channels, 1, 1) for _ in scales], 5 if found.rotated else 4)
    except (TypeError, ValueError) as error:
        raise ValueError(f"pooler: {pooler}: {error}") from error
    return HullPooler(module) if rotated and not found.rotated else module


def _pool_nothing(module: nn.Module, maps: list[Tensor], numbers: int) -> None:
    """Pool no boxes, because most arguments are checked only when a pooler is called."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        module(maps, [torch.zeros(0, numbers)])


def read_pooler(text: str, *, rotated: bool) -> Pooler:
    """Parse ``NAME`` or ``NAME:ARGUMENT=VALUE,...``, for upright or rotated boxes."""
    name, _, rest = text.partition(":")
    if name not in POOLERS:
        raise ValueError(f"pooler: expected one of {', '.join(POOLERS)}, or a function, got {name!r}")
    module, arguments = POOLERS[name]
    if POOLERS[name].rotated and not rotated:
        raise ValueError(f"pooler: expected a pooler of upright boxes, got {name!r}, which pools rotated boxes")
    known = [known for known in inspect.signature(module).parameters if known not in DECIDED]
    more: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        argument, sign, value = part.partition("=")
        if argument not in known or not sign:
            raise ValueError(f"pooler: {name}: expected ARGUMENT=VALUE with one of {', '.join(known)}, got {part!r}")
        more[argument] = _value(value)
    return Pooler(module, arguments | more)


def _value(text: str) -> Any:
    """Parse a number, true or false. Anything else stays text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
