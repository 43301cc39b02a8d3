"""Calls of the backend up to the launch, for a GPU that is not there: prints how many variants of each kernel that
compiles, after calls of several sizes, and after a call of another kind. In a process of its own, as compiled_kernels.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from triton.runtime import driver

from benchmarks.gpu.compiler import AbsentGPU
from roialign._levels import Assignment
from roialign._spec import PointwiseSpec, SeparableSpec
from roialign.torch.triton import frames, pointwise, tiles
from roialign.torch.triton import separable as backend
from roialign.torch.wiring.family import Operator
from roialign.torch.wiring.primitive import Inputs

#: RoIs, few, some and many of them, and sizes of maps.
SIZES = ((70, 64, 80), (20, 48, 64), (77, 51, 93), (4999, 33, 200))
variants: dict[str, int] = {}


def compile_only(kernel: Any, grid: tuple[int, ...], _device: Any, *arguments: Any, **constants: Any) -> None:
    kernel.warmup(*arguments, grid=grid, **constants)
    variants[kernel.fn.__name__] = len(kernel.device_caches[0][0])


def call_all(count: int, height: int, width: int, dtype: torch.dtype, rule: Any) -> None:
    maps = tuple(torch.zeros(1, 128, height >> level, width >> level, dtype=dtype) for level in range(2))
    maps = tuple(level.contiguous(memory_format=torch.channels_last) for level in maps)
    gradient = torch.zeros(count, 128, 7, 7, dtype=dtype).contiguous(memory_format=torch.channels_last)
    call = Operator(SeparableSpec(rule, offset=0.5), (0.5, 0.25), Assignment(224, 4), "zero")
    phi = Inputs(maps, gradient, torch.zeros(count, 5), None, None, ())
    backend.forward(call, phi._replace(grad_output=None), gradient)
    backend.adjoint_features(call, phi._replace(features=()), maps)
    backend.adjoint_boxes(call, phi, torch.zeros(count, 5))


def call_points(count: int, height: int, width: int, dtype: torch.dtype, reduction: Any, seed: int) -> None:
    maps = (torch.zeros(1, 128, height, width, dtype=dtype).contiguous(memory_format=torch.channels_last),)
    gradient = torch.zeros(count, 128, 7, 7, dtype=dtype).contiguous(memory_format=torch.channels_last)
    spec = PointwiseSpec("rotated", "random", reduction, sampling_ratio=(seed % 3, 1), seed=seed, jitters_points=True)
    call = Operator(spec, (0.5,), None, "zero", bins=(7, 7))
    phi = Inputs(maps, gradient, torch.zeros(count, 6), None, None, (), maps)
    pointwise.forward(call, phi._replace(grad_output=None), gradient)
    pointwise.adjoint_features(call, phi._replace(features=()), maps)
    pointwise.adjoint_boxes(call, phi, torch.zeros(count, 6))


if __name__ == "__main__":
    driver.set_active(AbsentGPU())
    backend.launch = pointwise.launch = frames.launch = tiles.launch = compile_only  # type: ignore[attr-defined]
    (part,) = sys.argv[1:]
    if part == "points":
        for seed, sizes in enumerate(SIZES):
            for reduction in ("mean", "max"):
                call_points(*sizes, torch.float16, reduction, (1 << 40) * seed + 16 * seed + seed // 2)
    else:
        for sizes in SIZES:
            call_all(*sizes, torch.float16, "grid")
        print(json.dumps([part, variants]))  # noqa: T201
        call_all(70, 64, 80, torch.float32, "exact")
    print(json.dumps([part, variants]))  # noqa: T201
