"""Maps and boxes on a CUDA device, operators to call on them, and calls in CUDA graphs: for `pytest -m gpu`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import roialign
from benchmarks.gpu.device import IS_REHEARSAL

#: The marks of a module of such tests; and of one that a rehearsal runs too, in Triton's interpreter.
ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ON_GPU_OR_REHEARSED = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (IS_REHEARSAL or torch.cuda.is_available()), reason="no CUDA device"),
]


def on_gpu_or_rehearsed(test: Any) -> Any:
    """The same marks for one test of a module."""
    for mark in ON_GPU_OR_REHEARSED:
        test = mark(test)
    return test


SCALES = [1 / 4, 1 / 8, 1 / 16]

every_layout = pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])


def in_layout(tensor: Tensor, channels_last: bool) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def scene(
    count: int = 300, dtype: torch.dtype = torch.float32, channels_last: bool = False
) -> tuple[list[Tensor], Tensor]:
    """A pyramid of two images, and boxes in image pixels."""
    generator = torch.Generator().manual_seed(0)
    pyramid = [torch.randn(2, 64, 200 >> i, 336 >> i, generator=generator).to("cuda", dtype) for i in range(3)]
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([1000.0, 600.0])
    size = 16 * 20 ** torch.rand(count, 2, generator=generator)
    image = torch.randint(2, (count, 1), generator=generator).float()
    rois = torch.cat([image, corner, corner + size], 1).cuda()
    return [in_layout(level, channels_last) for level in pyramid], rois


def pooled(pyramid: list[Tensor], rois: Tensor, **more: Any) -> Tensor:
    return roialign.multiscale_roi_align(pyramid, rois, 7, SCALES, **more)


def points_of(name: str, dtype: torch.dtype = torch.float32, channels_last: bool = False) -> tuple[Any, list[Tensor]]:
    """An operator of the pointwise family, and the tensors that it has gradients to: RoIPool has none to boxes."""
    pyramid, rois = scene(150, dtype, channels_last)
    features, boxes = pyramid[0], rois.double()
    centre, size = (boxes[:, 1:3] + boxes[:, 3:]) / 2, boxes[:, 3:] - boxes[:, 1:3]
    turned = torch.cat([boxes[:, :1], centre, size, boxes[:, 1:2] / 100], 1)
    offset = torch.randn(150, 2, 7, 7, generator=torch.Generator().manual_seed(1)).cuda()
    calls: dict[str, tuple[Any, list[Tensor]]] = {
        "max": (lambda f, b: roialign.roi_align(f, b, 7, 1 / 4, 2, mode="max"), [features, boxes]),
        "rotated": (lambda f, b: roialign.roi_align_rotated(f, b, 7, 1 / 4), [features, turned]),
        "rotation-invariant": (lambda f, b: roialign.riroi_align_rotated(f, b, 7, 1 / 4), [features, turned]),
        "deformable": (lambda f, b, o: roialign.deform_roi_pool(f, b, o, 7, 1 / 4), [features, boxes, offset]),
        "RoIPool": (lambda f: roialign.roi_pool(f, boxes.to(f.device), 7, 1 / 4), [features]),
        "position-sensitive": (lambda f, b: roialign.ps_roi_align(f, b, 2, 1 / 4), [features, boxes]),
    }
    return calls[name]


every_operator = pytest.mark.parametrize(
    "name", ["max", "rotated", "rotation-invariant", "deformable", "RoIPool", "position-sensitive"]
)


def derived(function: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    """The answer, and the gradients to all tensors of a sum in which every element counts differently."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    answer = function(*leaves)
    return [answer.detach(), *torch.autograd.grad(answer.square().sum(), leaves)]


def pyramid_call(pyramid: list[Tensor], rois: Tensor) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """:func:`pooled` and its tensors, as `points_of` gives another operator and its own."""
    return lambda *tensors: pooled(list(tensors[:-1]), tensors[-1]), [*pyramid, rois]


def same_bits(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(one, two) for one, two in zip(some, others, strict=True))


def captured(call: Callable[[], list[Tensor]]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
    """A call in a graph, and the tensors that its replays write. It is called outside of it first, which compiles."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        # Without what they were derived by, whose nodes belong to the stream of the capture.
        answers = [answer.detach() for answer in call()]
    return graph, answers
