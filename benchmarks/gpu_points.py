"""The pointwise family on a CUDA device, beside torchvision's operators where it has them: rows of benchmarks.gpu.

Boxes of a proposal stage on one map of stride 16. Backward is to the features, through a graph that both keep.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

import roialign

SCALE, BINS = 1 / 16, 7


@dataclass(frozen=True)
class Operator:
    """One call of ours, and of the peer that does the same; both take features, boxes, and a turned form of these."""

    name: str
    channels: int
    ours: Callable[[Tensor, Tensor, Tensor], Tensor]
    peer: str | None = None
    """The name of torchvision's operator, and what it is given besides features, boxes, bins and scale."""
    arguments: tuple[Any, ...] = ()


def _deformed(features: Tensor, boxes: Tensor, turned: Tensor) -> Tensor:
    del turned
    offset = boxes.new_full((len(boxes), 2, BINS, BINS), 0.3)
    return roialign.deform_roi_pool(features, boxes, offset, BINS, SCALE, 2)


OPERATORS = (
    Operator("roi_pool", 256, lambda f, b, _: roialign.roi_pool(f, b, BINS, SCALE), "roi_pool"),
    Operator("ps_roi_align", 490, lambda f, b, _: roialign.ps_roi_align(f, b, BINS, SCALE, 2), "ps_roi_align", (2,)),
    Operator("ps_roi_pool", 490, lambda f, b, _: roialign.ps_roi_pool(f, b, BINS, SCALE), "ps_roi_pool"),
    Operator("roi_align, max", 256, lambda f, b, _: roialign.roi_align(f, b, BINS, SCALE, 2, mode="max")),
    Operator("roi_align_rotated", 256, lambda f, _, t: roialign.roi_align_rotated(f, t, BINS, SCALE, 2)),
    Operator("riroi_align_rotated", 256, lambda f, _, t: roialign.riroi_align_rotated(f, t, BINS, SCALE, 2)),
    Operator("deform_roi_pool", 256, _deformed),
)


def scene(operator: Operator, device: str, dtype: torch.dtype, layout: str, count: int = 1000) -> tuple[Tensor, ...]:
    """Features, boxes, and the boxes turned about their centres."""
    generator = torch.Generator().manual_seed(0)
    size = (2, operator.channels, 50, 68)
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
    """The backward of calls whose forward has been run."""
    leaves = [features.detach().requires_grad_() for features in sets]
    answers = [forward(leaf) for leaf in leaves]
    gradient = torch.ones_like(answers[0])
    return lambda index: torch.autograd.grad(answers[index], leaves[index], gradient, retain_graph=True)


def calls_of(operator: Operator, sets: list[Tensor], boxes: Tensor, turned: Tensor, backward: bool) -> dict[str, Any]:
    """Ours and, where there is one, torchvision's, by the number of the set that they are called with."""
    functions = {"ours": lambda features: operator.ours(features, boxes, turned)}
    peer = _torchvision(operator)
    if peer is not None:
        like_features = boxes.to(sets[0].dtype)
        functions["torchvision"] = lambda features: peer(features, like_features, BINS, SCALE, *operator.arguments)
    if backward:
        return {name: to_features(function, sets) for name, function in functions.items()}
    return {name: lambda index, call=function: call(sets[index]) for name, function in functions.items()}


def _torchvision(operator: Operator) -> Any:
    if operator.peer is None:
        return None
    try:
        from torchvision import ops
    except ImportError:
        return None
    return getattr(ops, operator.peer)


def check(operator: Operator, dtype: torch.dtype, layout: str, device: str = "cuda") -> None:
    """A wrong answer gets no time: ours beside ours in float64."""
    features, boxes, turned = scene(operator, device, dtype, layout)
    for backward in (False, True):
        seen, right = (
            calls_of(operator, [level], boxes, turned, backward)["ours"](0) for level in (features, features.double())
        )
        seen, right = (answer[0] if backward else answer for answer in (seen, right))
        error = float((seen.double() - right).norm() / right.norm())
        # Of millions of maxima a few are decided by float32's last digit, and their gradients go elsewhere.
        limit = 1e-5 if dtype == torch.float32 and not (backward and "max" in operator.name) else 2e-3
        if not error < limit:
            raise SystemExit(f"{operator.name}: a relative error of {error:.3g}")


def measure(rate: float) -> list[Any]:
    """The rows of the table."""
    from .gpu import DTYPES, Row, attempt, extra_memory, line, microseconds, sets_of

    rows = []
    for operator in OPERATORS:
        for layout, name in (("NCHW", "fp32"), ("NHWC", "fp16")):
            check(operator, DTYPES[name], layout)
            features, boxes, turned = scene(operator, "cuda", DTYPES[name], layout)
            sets = [features.clone(memory_format=torch.preserve_format) for _ in range(sets_of(features.nbytes))]
            answer = operator.ours(features, boxes, turned)
            moved = features.nbytes + answer.nbytes
            for backward in (False, True):
                calls = calls_of(operator, sets, boxes, turned, backward)
                own = calls.pop("ours")
                ours, extra = microseconds(own, len(sets)), extra_memory(own, SimpleNamespace(bytes=moved))
                what = "backward" if backward else "forward"
                peer, call = next(iter(calls.items()), ("none", None))
                time = None if call is None else attempt(lambda of=call, sets=sets: microseconds(of, len(sets)))  # type: ignore[misc]
                cells = (operator.name, what, layout, name, 2, ours, moved / rate, peer, time, extra)
                rows.append(Row(*cells))
                print(line(rows[-1]), flush=True)
    return rows
