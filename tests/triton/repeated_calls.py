"""Public calls with a driver that launches nothing, for a GPU that is not there: prints how often calls that come again
were checked, and how often they took the short way. Compares what is launched. In a process of its own, as
replayed_calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from triton import knobs
from triton.compiler import compiler
from triton.runtime import driver

import roialign
from benchmarks.gpu.compiler import SHARED
from roialign.torch import backends, repeats
from roialign.torch.call import Call
from roialign.torch.triton import pointwise, replay
from tests.triton.replayed_calls import Launched, Watched, compare

AGAIN = 5
ONES: dict[str, Any] = {"backend": "triton", "spatial_scale": 0.5}
LEVELS = torch.arange(70) % 2
CALLS: dict[str, Callable[..., Tensor]] = {
    "one level": lambda f, _, rois, **more: roialign.roi_align(f, rois, 7, sampling_ratio=2, **ONES | more),
    "channels last": lambda f, _, rois: roialign.roi_align(
        f.permute(0, 2, 3, 1), rois, 7, 0.25, 2, layout="NHWC", backend="triton"
    ),
    "pyramid": lambda f, g, rois, **more: roialign.multiscale_roi_align(
        [f, g], rois, 7, [1 / 2, 1 / 4], 2, backend="triton", **more
    ),
    "levels": lambda f, g, rois, levels=LEVELS: roialign.multiscale_roi_align(
        [f, g], rois, 7, [1 / 2, 1 / 4], 2, levels=levels, backend="triton"
    ),
    "two maps": lambda f, g, rois: roialign.multiscale_roi_align(
        [f, f if g is None else f.clone()], rois, 7, [1 / 2, 1 / 4], 2, backend="triton"
    ),
    "maxima": lambda f, _, rois, **more: roialign.roi_pool(f, rois, 7, **ONES | more),
}


class Same(Tensor):
    """A subclass of a tensor."""


class Nothing(TorchDispatchMode):
    """A mode that only watches."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return function(*arguments, **(options or {}))


class Counts:
    """What calls did since the last time it was asked."""

    def __init__(self, watched: Watched) -> None:
        self.watched, self.checked, self.short = watched, 0, 0

    def take(self) -> tuple[list[int], list[Launched]]:
        found = [self.checked, self.short], self.watched.launches
        self.checked, self.short, self.watched.launches = 0, 0, []
        return found


def tensors() -> list[Tensor]:
    """Two maps, and RoIs."""
    torch.manual_seed(0)
    return [torch.randn(1, 16, 24, 32), torch.randn(1, 16, 12, 16), torch.rand(70, 5)]


def wrapped(tensor: Tensor) -> Tensor:
    """A wrapper of a tensor that a transform of torch.func has left."""
    kept: list[Tensor] = []

    def total(inside: Tensor) -> Tensor:
        kept.append(inside)
        return inside.sum()

    torch.func.grad(total)(tensor)
    return kept[0]


def step(call: Callable[..., Tensor], counts: Counts) -> tuple[list[list[int]], list[list[Launched]], list[Tensor]]:
    """A forward and a backward pass: counts and launches of each, and all tensors."""
    first, second, rois = tensors()
    leaves = [level.requires_grad_() for level in (first, second)]
    output = call(*leaves, rois)
    forward, gradient = counts.take(), torch.ones_like(output)
    found = torch.autograd.grad(output, leaves, gradient, allow_unused=True)
    backward = counts.take()
    every = [*leaves, rois, output, gradient, *[level for level in found if level is not None]]
    return [forward[0], backward[0]], [forward[1], backward[1]], [tensor.detach() for tensor in every]


def again(name: str, counts: Counts) -> list[list[list[int]]]:
    """The counts of a training step that comes again. All launch the same as the one that is recorded, the second,
    with their own tensors."""
    steps = [step(CALLS[name], counts) for _ in range(AGAIN)]
    _, (_, launches, given), *replays = steps
    for _, later, theirs in replays:
        for one, two in zip(given, theirs, strict=True):
            assert (one.shape, one.stride(), one.dtype) == (two.shape, two.stride(), two.dtype)
        pairs = list(zip(given, theirs, strict=True))
        for recorded, found, alive in zip(launches, later, (pairs[:4], pairs), strict=True):
            compare(recorded, found, alive)  # with tensors whose memory the launches cannot have used
    return [found for found, _, _ in steps]


def backwards(counts: Counts) -> list[list[int]]:
    """The counts of the functions of a gradient: of the features, then of both, and with a derivative."""
    found = []
    for need in (*[("features",)] * AGAIN, ("features", "rois")):
        first, _, rois = tensors()
        roialign.roi_align_backward(torch.ones(70, 16, 7, 7), first, rois, sampling_ratio=2, need=need, **ONES)
        found.append(counts.take()[0])
    gradient = torch.ones(70, 16, 7, 7, requires_grad=True)
    answer, _ = roialign.roi_align_backward(gradient, first, rois, sampling_ratio=2, need="features", **ONES)
    assert answer.requires_grad
    return [*found, counts.take()[0]]


def others() -> dict[str, tuple[str, Callable[[Tensor, Tensor, Tensor], Sequence[Any]], dict[str, Any], Any]]:
    """What differs from a call that has come again: its name, other tensors, other options, and a context."""
    shifted = torch.empty(1 + 16 * 24 * 32)[1:].reshape(1, 16, 24, 32)
    nothing = nullcontext()
    same = lambda f, g, r: (f, g, r)  # noqa: E731
    return {
        "the same": ("one level", same, {}, nothing),
        "another scale": ("one level", same, {"spatial_scale": 0.25}, nothing),
        "another offset": ("one level", same, {"aligned": False}, nothing),
        "invalid": ("one level", same, {"invalid": "zero"}, nothing),
        "out": ("one level", same, {"out": torch.empty(70, 16, 7, 7)}, nothing),
        "other strides": ("one level", lambda f, g, r: (f.mT.contiguous().mT, g, r), {}, nothing),
        "another dtype": ("one level", lambda f, g, r: (f, g, r.double()), {}, nothing),
        "another alignment": ("one level", lambda _, g, r: (shifted, g, r), {}, nothing),
        "fewer boxes": ("one level", lambda f, g, r: (f, g, r[:69]), {}, nothing),
        "boxes that need a gradient": ("one level", lambda f, g, r: (f, g, r.requires_grad_()), {}, nothing),
        "a lazy sign": ("one level", lambda f, g, r: (torch._neg_view(f), g, r), {}, nothing),
        "lazy zeros": ("one level", lambda f, g, r: (torch._efficientzerotensor(f.shape), g, r), {}, nothing),
        "a dead wrapper": ("one level", lambda f, g, r: (wrapped(f), g, r), {}, nothing),
        "a subclass": ("one level", lambda f, g, r: (f.as_subclass(Same), g, r), {}, nothing),
        "a mode": ("one level", same, {}, Nothing()),
        "tangents": ("one level", same, {}, forward_ad.dual_level()),
        "a profiler": ("one level", same, {}, patch.object(knobs.runtime, "launch_enter_hook", lambda _: None)),
        "no replays": ("one level", same, {}, patch.object(replay, "KEPT", 0)),
        "one map twice": ("two maps", lambda f, _, r: (f, None, r), {}, nothing),
        "another assignment": ("pyramid", same, {"canonical_size": 112}, nothing),
        "other levels": ("levels", same, {"levels": LEVELS.clone()}, nothing),
        "levels of another dtype": ("levels", same, {"levels": LEVELS.int()}, nothing),
        "strided levels": ("levels", same, {"levels": torch.stack([LEVELS, LEVELS], 1)[:, 0]}, nothing),
        "the same maxima": ("maxima", lambda f, g, r: (f.requires_grad_(), g, r), {}, nothing),
        "maxima without winners": ("maxima", same, {}, nothing),
    }


def other(counts: Counts) -> dict[str, list[int]]:
    """The counts of calls that differ from one that has come again."""
    found = {}
    for case, (name, change, options, context) in others().items():
        given = change(*tensors())
        with context:
            CALLS[name](*given, **options)
        found[case], launches = counts.take()
        if case == "other levels":
            addresses = [value for launched in launches for value in launched.arguments]
            assert options["levels"].data_ptr() in addresses
            assert LEVELS.data_ptr() not in addresses
        assert launches or case in ("a subclass", "a mode"), case
    first, second, rois = tensors()
    torch.func.vmap(lambda level: CALLS["one level"](level, second, rois))(torch.stack([first, first]))
    found["vmap"] = counts.take()[0]
    return found


def kept(counts: Counts) -> dict[str, Any]:
    """Calls that launch nothing, or whose tensors are not those that were given, and gradients of such calls."""
    found: dict[str, Any] = {"autocast": []}
    for _ in range(AGAIN):
        first, second, rois = tensors()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            CALLS["pyramid"](first, second.half(), rois)
        found["autocast"].append(counts.take()[0])
    found["reference"] = []
    for _ in range(AGAIN):
        CALLS["one level"](*tensors(), backend="reference", invalid="zero")
        found["reference"].append(counts.take()[0])
    first, second, rois = tensors()
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, lambda kept: kept.t().contiguous().t()):
        output = CALLS["one level"](first.requires_grad_(), second, rois)
        counts.take()
        torch.autograd.grad(output.sum(), first)
    found["hooks"] = counts.take()[0]
    return found


def errors() -> list[str]:
    """The errors of calls that differ from one that has come again."""
    found = []
    first, second, rois = tensors()
    for given in ((first, second, rois[:, 1:]), (first[0], second, rois), (first, second, rois.numpy())):
        try:
            CALLS["one level"](*given)
        except (TypeError, ValueError) as error:
            found.append(type(error).__name__)
    try:
        roialign.roi_align_backward(torch.ones(70, 15, 7, 7), first, rois, need="features", sampling_ratio=2, **ONES)
    except ValueError as error:
        found.append(type(error).__name__)
    return found


def replaced() -> list[str]:
    """The errors of gradients for which a hook has kept fewer boxes, winners or maps."""
    found = []
    for name, dimensions in (("one level", 2), ("maxima", 2), ("maxima", 3), ("maxima", 4)):
        first, second, rois = tensors()
        fewer = partial(lambda dimensions, kept: kept[1:] if kept.ndim == dimensions else kept, dimensions)
        with torch.autograd.graph.saved_tensors_hooks(fewer, lambda kept: kept):
            output = CALLS[name](first.requires_grad_(), second, rois)
        try:
            torch.autograd.grad(output.sum(), first)
        except ValueError as error:
            found.append(str(error).partition(",")[0])
    return found


def main() -> None:
    watched, allocated = Watched(), list[int]()
    counts, check, run, new_winners = Counts(watched), Call.__init__, repeats.Repeat.run, pointwise.new_winners

    def checked(self: Call, *arguments: Any) -> None:
        counts.checked += 1
        check(self, *arguments)

    def short(self: repeats.Repeat, *arguments: Any) -> tuple[Tensor, ...]:
        counts.short += 1
        return run(self, *arguments)

    def winners_in_memory(*arguments: Any) -> Tensor:
        winners = new_winners(*arguments)
        allocated.append(winners.untyped_storage().nbytes() if winners.data_ptr() else 0)
        return winners

    driver.set_active(watched)
    patches: list[AbstractContextManager[Any]] = [
        patch.object(torch.Tensor, "is_cuda", property(lambda _: True)),
        patch.object(compiler, "max_shared_mem", lambda _: SHARED),
        patch.object(backends, "is_interpreted", lambda: True),
        patch.object(Call, "__init__", checked),
        patch.object(repeats.Repeat, "run", short),
        patch.object(pointwise, "new_winners", winners_in_memory),
    ]
    for one in patches:
        one.__enter__()
    answers: dict[str, Any] = {name: again(name, counts) for name in CALLS}
    answers["bytes of winners"] = sum(allocated)
    answers |= {"backward": backwards(counts), "other": other(counts), "kept": kept(counts), "errors": errors()}
    answers["replaced"] = replaced()
    counts.take()
    replay.forget()
    answers["forgotten"] = again("one level", counts)
    print(json.dumps(["calls", answers]))  # noqa: T201


if __name__ == "__main__":
    main()
