"""Measure the pointwise family on a CUDA device, compared with torchvision's operators where they exist.

The boxes are typical proposals, on one map of stride 16. Backward is to the features, with retained graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import roialign

from .calls import DTYPES, WrongAnswerError, compare
from .device import BACKEND, DEVICE, IS_REHEARSAL
from .results import Row
from .timing import Call, Rates, attempt, extra_memory, peer_times_of, poisoned, sets_of, times_of

SCALE, BINS = 1 / 16, 7
#: Height and width of the map, and number of boxes.
SIZE, COUNT = ((6, 9), 3) if IS_REHEARSAL else ((50, 68), 1000)
#: Number of channels, and of channels for each bin of position-sensitive operators.
CHANNELS, POSITIONED = (8, 2 * BINS**2) if IS_REHEARSAL else (256, 10 * BINS**2)
MORE: dict[str, Any] = {"backend": BACKEND}


@dataclass(frozen=True)
class Operator:
    """One call of ours, and of the equivalent peer. Both take features, boxes, and rotated boxes."""

    name: str
    channels: int
    ours: Callable[[Tensor, Tensor, Tensor], Tensor]
    peer: str | None = None
    """The name of torchvision's operator, and its arguments besides features, boxes, bins and scale."""
    arguments: tuple[Any, ...] = ()

    def output_elements(self, count: int) -> int:
        """Create inputs with this many boxes. Position-sensitive operators have one channel group per bin."""
        return count * self.channels * (1 if self.name.startswith("ps_") else BINS * BINS)


def _deformed(features: Tensor, boxes: Tensor, turned: Tensor) -> Tensor:
    del turned
    offset = boxes.new_full((len(boxes), 2, BINS, BINS), 0.3)
    return roialign.deform_roi_pool(features, boxes, offset, BINS, SCALE, 2, **MORE)


OPERATORS = (
    Operator("roi_pool", CHANNELS, lambda f, b, _: roialign.roi_pool(f, b, BINS, SCALE, **MORE), "roi_pool"),
    Operator(
        "ps_roi_align",
        POSITIONED,
        lambda f, b, _: roialign.ps_roi_align(f, b, BINS, SCALE, 2, **MORE),
        "ps_roi_align",
        (2,),
    ),
    Operator("ps_roi_pool", POSITIONED, lambda f, b, _: roialign.ps_roi_pool(f, b, BINS, SCALE, **MORE), "ps_roi_pool"),
    Operator("roi_align, max", CHANNELS, lambda f, b, _: roialign.roi_align(f, b, BINS, SCALE, 2, mode="max", **MORE)),
    Operator(
        "roi_align_rotated",
        CHANNELS,
        lambda f, _, t: roialign.roi_align_rotated(f, t, BINS, SCALE, 2, **MORE),
    ),
    Operator(
        "riroi_align_rotated",
        CHANNELS,
        lambda f, _, t: roialign.riroi_align_rotated(f, t, BINS, SCALE, 2, **MORE),
    ),
    Operator("deform_roi_pool", CHANNELS, _deformed),
)


def scene(operator: Operator, device: str, dtype: torch.dtype, layout: str, count: int = COUNT) -> tuple[Tensor, ...]:
    """Return features, boxes, and the boxes rotated about their centres."""
    generator = torch.Generator().manual_seed(0)
    size = (2, operator.channels, *SIZE)
    features = torch.randn(size, generator=generator).to(device, dtype)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([900.0, 600.0])
    side = 32 * 12 ** torch.rand(count, 2, generator=generator)
    image = torch.randint(2, (count, 1), generator=generator).float()
    angle = (torch.rand(count, 1, generator=generator) - 0.5) * math.tau
    boxes = torch.cat([image, corner, corner + side], 1)
    turned = torch.cat([image, corner + side / 2, side, angle], 1)
    memory = torch.channels_last if layout == "NHWC" else torch.contiguous_format
    return features.contiguous(memory_format=memory), boxes.to(device), turned.to(device)


def to_features(forward: Callable[[Tensor], Tensor], sets: list[Tensor]) -> Callable[[int], Any]:
    """Return the backward pass of calls whose forward pass has run."""
    leaves = [features.detach().requires_grad_() for features in sets]
    answers = [forward(leaf) for leaf in leaves]
    # Values that every dtype can represent, in the memory format of the outputs.
    drawn = torch.randn(answers[0].shape, generator=torch.Generator().manual_seed(1)).half()
    gradients = [torch.empty_like(answer).copy_(drawn) for answer in answers]
    return lambda index: torch.autograd.grad(answers[index], leaves[index], gradients[index], retain_graph=True)


def call_of(operator: Operator, who: str, sets: list[Tensor], boxes: Tensor, turned: Tensor, backward: bool) -> Call:
    """Return our call or torchvision's. Its argument is the number of the input set."""
    peer, like_features = _torchvision(operator), boxes.to(sets[0].dtype)

    def pool(features: Tensor) -> Tensor:
        if who == "ours":
            return operator.ours(features, boxes, turned)
        answer: Tensor = peer(features, like_features, BINS, SCALE, *operator.arguments)
        return answer

    return to_features(pool, sets) if backward else lambda index: pool(sets[index])


def _torchvision(operator: Operator) -> Any:
    if operator.peer is None:
        return None
    try:
        from torchvision import ops
    except ImportError:
        return None
    return getattr(ops, operator.peer)


def check(operator: Operator, dtype: torch.dtype, layout: str, backward: bool, device: str = DEVICE) -> None:
    """Compare our result with our float64 result, and raise if it is wrong, so that it is not timed."""
    features, boxes, turned = scene(operator, device, dtype, layout)
    with poisoned():
        seen = call_of(operator, "ours", [features], boxes, turned, backward)(0)
    right = call_of(operator, "ours", [features.double()], boxes, turned, backward)(0)
    # A few of millions of maxima are decided by float32 rounding, and their gradients go to another point.
    limit = 1e-5 if dtype == torch.float32 and not (backward and "max" in operator.name) else 2e-3
    try:
        compare(list(seen) if backward else [seen], list(right) if backward else [right], limit)
    except WrongAnswerError as reason:
        raise WrongAnswerError(f"{operator.name}: {reason}") from None


def cells() -> Iterator[tuple[Operator, str, str, bool]]:
    """Return the arguments of :func:`measure_cell`, in the order of the table."""
    for operator in OPERATORS:
        for layout, name in (("NCHW", "fp32"), ("NHWC", "fp16")):
            for backward in (False, True):
                yield operator, layout, name, backward


def measure(rates: Rates) -> Iterator[Row]:
    """Return the rows of the table."""
    for operator, layout, name, backward in cells():
        yield measure_cell(operator, layout, name, backward, rates)


def measure_cell(operator: Operator, layout: str, name: str, backward: bool, rates: Rates) -> Row:
    features, boxes, turned = scene(operator, DEVICE, DTYPES[name], layout)
    _, wrong = attempt(lambda: check(operator, DTYPES[name], layout, backward))
    moved = features.nbytes + operator.output_elements(len(boxes)) * features.element_size()
    sets = [features.clone(memory_format=torch.preserve_format) for _ in range(sets_of(moved))]

    def own() -> tuple[Any, float]:
        call = call_of(operator, "ours", sets, boxes, turned, backward)
        return times_of(call, len(sets)), extra_memory(call, moved)

    def its() -> Any:
        return peer_times_of(call_of(operator, "torchvision", sets, boxes, turned, backward), len(sets))

    found, failed = (None, []) if wrong else attempt(own)
    times, extra = found or ((None, None), None)
    what = "backward" if backward else "forward"
    cell = (operator.name, what, layout, name, 2, *times, moved / rates.memory, extra)
    if _torchvision(operator) is None:
        return Row(*cell, notes=[*wrong, *failed])
    peer, reason = attempt(its)
    notes = [*wrong, *failed, *(f"torchvision: {why}" for why in reason)]
    return Row(*cell, "torchvision", *(peer or (None, None)), notes)
