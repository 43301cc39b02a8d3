"""An operator with torchvision's signature: the forward pass, and the gradient to the features by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .work import Array, Inputs, Part, Work

Operator = Callable[..., torch.Tensor]


def prepare_operator(operator: Operator, inputs: Inputs, memory_format: torch.memory_format) -> Work:
    dtype = getattr(torch, inputs.dtype)

    def tensor(array: Array) -> torch.Tensor:
        return torch.from_numpy(array).to(dtype).contiguous(memory_format=memory_format)

    maps = [tensor(array) for array in inputs.maps("NCHW", "float32")]
    parts = [(part, torch.from_numpy(part.rois)) for part in inputs.parts()]

    def pool(part: Part, rois: torch.Tensor) -> torch.Tensor:
        return operator(maps[part.level], rois, inputs.output_size, part.scale, inputs.sampling_ratio, aligned=True)

    if inputs.direction == "forward":
        work = _forward(inputs, parts, pool)
    else:
        work = _backward(inputs, parts, pool, maps, tensor)
    work.select = lambda: torch.set_num_threads(inputs.threads)
    return work


def _forward(inputs: Inputs, parts: list[tuple[Part, torch.Tensor]], pool: Operator) -> Work:
    def run() -> list[torch.Tensor]:
        with torch.no_grad():
            return [pool(part, rois) for part, rois in parts]

    def answer() -> list[Array]:
        pooled = [(part, out.float().numpy()) for (part, _), out in zip(parts, run(), strict=True)]
        return [inputs.in_order(pooled)]

    return Work(run, answer)


def _backward(
    inputs: Inputs,
    parts: list[tuple[Part, torch.Tensor]],
    pool: Operator,
    maps: list[torch.Tensor],
    tensor: Callable[[Array], torch.Tensor],
) -> Work:
    gradient = inputs.grad_output("NCHW", "float32")
    for features in maps:
        features.requires_grad_()
    graphs = [(pool(part, rois), maps[part.level], tensor(gradient[part.rows])) for part, rois in parts]

    def run() -> list[Any]:
        return [torch.autograd.grad(out, features, grad, retain_graph=True)[0] for out, features, grad in graphs]

    def answer() -> list[Array]:
        answers = [torch.zeros_like(features) for features in maps]
        for (part, _), grad in zip(parts, run(), strict=True):
            answers[part.level] = grad
        return [grad.detach().float().numpy() for grad in answers]

    return Work(run, answer)
