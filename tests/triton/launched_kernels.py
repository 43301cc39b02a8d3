"""Calls of the backend up to the launch, for a GPU that is not there: prints how many variants of each kernel that
compiles, after calls of several sizes, and after a call of another kind. In a process of its own, as compiled_kernels.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from triton.runtime import driver

from benchmarks.gpu.compiler import AbsentGPU
from roialign._derivatives import Inputs, Operator
from roialign._levels import Assignment
from roialign._spec import PointwiseSpec, SeparableSpec
from roialign.torch.triton import frames, pointwise, tiles
from roialign.torch.triton import separable as backend

#: RoIs, few, some and many of them, and sizes of maps.
SIZES = ((70, 64, 80), (20, 48, 64), (77, 51, 93), (4999, 33, 200))
#: The scales of two levels: usual ones, and others, whose bits are any.
SCALES = ((1.0, 0.5), (0.5, 0.25), (0.25, 0.125), (3.0, 1.5), (1e100, 1e-100), (1 / 16, 1 / 3000))
SCALES += tuple((float(fine), float(fine) / 2.1) for fine in np.random.default_rng(0).uniform(0.01, 8.0, 60))
variants: dict[str, int] = {}


def compile_only(kernel: Any, grid: tuple[int, ...], _device: Any, *arguments: Any, **constants: Any) -> None:
    kernel.warmup(*arguments, grid=grid, **constants)
    variants[kernel.fn.__name__] = len(kernel.device_caches[0][0])


def call_all(
    count: int, height: int, width: int, dtype: torch.dtype, rule: Any, scales: tuple[float, float] = (0.5, 0.25)
) -> None:
    maps = tuple(torch.zeros(1, 128, height >> level, width >> level, dtype=dtype) for level in range(2))
    maps = tuple(level.contiguous(memory_format=torch.channels_last) for level in maps)
    gradient = torch.zeros(count, 128, 7, 7, dtype=dtype).contiguous(memory_format=torch.channels_last)
    call = Operator(SeparableSpec(rule, offset=0.5), scales, Assignment(224, 4), "zero")
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


def call_levels(scales: tuple[float, float]) -> None:
    maps = tuple(torch.zeros(1, 16, side, side) for side in (16, 8))
    call = Operator(PointwiseSpec("rounded", "pixels", "max"), scales, Assignment(224, 4), "zero", bins=(7, 7))
    pointwise.forward(call, Inputs(maps, None, torch.zeros(70, 5), None, None, ()), torch.zeros(70, 16, 7, 7))


if __name__ == "__main__":
    driver.set_active(AbsentGPU())
    backend.launch = pointwise.launch = frames.launch = tiles.launch = compile_only  # type: ignore[attr-defined]
    (part,) = sys.argv[1:]
    if part == "points":
        for seed, sizes in enumerate(SIZES):
            for reduction in ("mean", "max"):
                call_points(*sizes, torch.float16, reduction, (1 << 40) * seed + 16 * seed + seed // 2)
    elif part == "scales":
        for scales in SCALES:
            call_all(70, 64, 80, torch.float16, "grid", scales)
            call_levels(scales)
    else:
        for sizes in SIZES:
            call_all(*sizes, torch.float16, "grid")
        print(json.dumps([part, variants]))  # noqa: T201
        call_all(70, 64, 80, torch.float32, "exact")
    print(json.dumps([part, variants]))  # noqa: T201
