"""roialign with tensors in eager mode: one call for all levels, gradients by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import roialign

from .work import Array, Inputs, Work

Pool = Callable[..., Tensor]


def versions() -> dict[str, str]:
    return {"roialign": str(roialign.build_info()["version"]), "torch": torch.__version__}


def prepare(inputs: Inputs) -> Work:
    return prepare_function(inputs, lambda function: function)


def prepare_function(inputs: Inputs, wrap: Callable[[Pool], Pool]) -> Work:
    """Prepare a case. `wrap` converts the function before timing, for example with torch.compile."""
    layout = torch.channels_last if inputs.layout == "NHWC" else torch.contiguous_format
    dtype = getattr(torch, inputs.dtype)

    def tensor(array: Array) -> Tensor:
        return torch.from_numpy(array).to(dtype).contiguous(memory_format=layout)

    maps = [tensor(array) for array in inputs.maps("NCHW", "float32")]
    rois = torch.from_numpy(inputs.rois)
    pool = wrap(_function(inputs))
    if inputs.direction == "forward":
        work = _forward(inputs, maps, rois, pool)
    else:
        work = _backward(maps, rois, pool, tensor(inputs.grad_output("NCHW", "float32")), inputs.direction)
    work.select = lambda: torch.set_num_threads(inputs.threads)
    return work


def _function(inputs: Inputs) -> Pool:
    more: dict[str, Any] = {
        "sampling_ratio": inputs.sampling_ratio,
        "sampling": "exact" if inputs.sampling == "exact" else "grid",
    }
    size, scales = inputs.output_size, inputs.scales
    if len(scales) == 1:
        return lambda maps, rois, **out: roialign.roi_align(maps[0], rois, size, scales[0], **more, **out)
    return lambda maps, rois, **out: roialign.multiscale_roi_align(maps, rois, size, scales, **more, **out)


def _forward(inputs: Inputs, maps: list[Tensor], rois: Tensor, pool: Pool) -> Work:
    into: dict[str, Tensor] = {}
    if inputs.output == "reused":
        with torch.no_grad():
            into["out"] = pool(maps, rois)

    def run() -> Tensor:
        with torch.no_grad():
            return pool(maps, rois, **into)

    def answer() -> list[Array]:
        if into:
            into["out"].fill_(torch.nan)  # makes unwritten elements visible
        return [run().float().numpy()]

    work = Work(run, answer)
    if inputs.surrounded:
        _surround(work, maps)
    return work


def _backward(maps: list[Tensor], rois: Tensor, pool: Pool, gradient: Tensor, direction: str) -> Work:
    leaves = maps if direction == "backward-features" else [rois]
    for leaf in leaves:
        leaf.requires_grad_()
    output = pool(maps, rois)

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, leaves, gradient, retain_graph=True)

    def answer() -> list[Array]:
        grads = [grad.float().numpy() for grad in run()]
        return grads if leaves is maps else [grads[0][:, 1:]]

    return Work(run, answer)


def _surround(work: Work, maps: list[Tensor]) -> None:
    """Return a convolution that computes the maps before each call, and a reduction of the output after it."""
    sources = [level.clone() for level in maps]
    channels = maps[0].shape[1]
    identity = torch.zeros(channels, 1, 3, 3, dtype=maps[0].dtype)
    identity[:, :, 1, 1] = 1

    def produce() -> None:
        with torch.no_grad():
            for index, source in enumerate(sources):
                maps[index] = torch.nn.functional.conv2d(source, identity, padding=1, groups=channels)

    work.produce, work.consume = produce, lambda answer: answer.sum()
