"""Compile the kernels of a run in advance, on a machine without a GPU, because compilation takes most of a run's time.

    python -m benchmarks.gpu prepare [--steps smoke,answers,cases] [--part 1/2] [--gpu cuda:90]
                                     [--archive triton-cache.tar.xz]

compiles into the Triton cache (TRITON_CACHE_DIR), which must have the same path on the other machine. That machine must
have the same versions of Python, torch and Triton. The GPU is one of compute capability 9.0 unless another is named,
such as cuda:80 (8.0) or hip:gfx942 (AMD's MI300). The archive has the compiled code of the whole cache: unpack it there
with `tar -xJf triton-cache.tar.xz -C /`. Several processes can compile a part each.
"""

from __future__ import annotations

import argparse
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .variables import COMPILE_ONLY

Job = Callable[[], Any]
#: The names that Triton gives to compiled code for the GPUs of NVIDIA and AMD.
MACHINE_CODE = (".cubin", ".hsaco")


class Passes:
    """An expectation that everything meets, because nothing is computed."""

    def __getattr__(self, name: str) -> Any:
        del name
        return lambda *_: None


def of_smoke() -> Iterator[tuple[str, Job]]:
    from tests.gpu import test_smoke as tests

    for dtype in tests.LAYOUTS:
        for name in tests.CALLS:
            yield f"{name} {dtype}", partial(smoke, name, dtype)


def smoke(name: str, dtype: str) -> None:
    import pytest

    from tests.gpu import test_smoke as tests

    with pytest.MonkeyPatch.context() as monkeypatch:
        tests.with_every_kernel(monkeypatch)
        tests.check(name, dtype, "triton", "cpu")


def of_answers() -> Iterator[tuple[str, Job]]:
    from .cells import first_cells, other_cells
    from .jobs import answer

    for cell in [*first_cells(), *other_cells()]:
        yield cell.name, partial(answer, cell)


def of_cases() -> Iterator[tuple[str, Job]]:
    from tests.gpu import test_cases as tests

    for dtype in tests.DTYPES:
        for last in (False, True):
            for case in tests.CASES:
                yield f"{case.name} {dtype} {last}", partial(tests.test_the_table_of_cases, case, dtype, last)
            for case in tests.POINT_CASES:
                yield f"{case.name} {dtype} {last}", partial(tests.test_the_table_of_points, case, dtype, last)


def of_operators() -> Iterator[tuple[str, Job]]:
    from . import points
    from .calls import DTYPES

    for operator, layout, dtype, backward in points.cells():
        name = f"{operator.name} {layout} {dtype}"
        yield name, partial(points.check, operator, DTYPES[dtype], layout, backward)


def of_candidates() -> Iterator[tuple[str, Job]]:
    from .candidates import entries, kept_in_file

    for entry in entries():
        for numbers in kept_in_file()[entry.name]:
            yield f"{entry.name} {numbers}", partial(candidate, entry, numbers)


def candidate(entry: Any, numbers: tuple[int, ...]) -> None:
    from .candidates import call_of, in_table
    from .tune import workloads_of

    with in_table(entry, numbers):
        for workload in workloads_of(entry):
            call_of(entry, workload, "cpu")()


STEPS: dict[str, Callable[[], Iterator[tuple[str, Job]]]] = {
    "smoke": of_smoke,
    "answers": of_answers,
    "cases": of_cases,
    "operators": of_operators,
    "candidates": of_candidates,
}


def prepare(steps: Sequence[str], part: int, parts: int, most: int | None, gpu: tuple[str, str]) -> int:
    """Compile what the jobs of some steps launch on a GPU, and return the number of launches."""
    import torch
    from triton.backends.compiler import GPUTarget

    from tests.gpu import test_cases

    from .calls import WrongAnswerError
    from .compiler import launching

    kind, model = gpu
    target = GPUTarget(kind, int(model) if kind == "cuda" else model, 64 if model.startswith("gfx9") else 32)
    count = 0

    def compile_only(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        nonlocal count
        count += 1
        kernel.warmup(*arguments, grid=grid, **constants)

    with (
        launching(compile_only, target),
        patch.object(torch.version, "hip", "6.0" if kind == "hip" else None),
        patch.object(test_cases, "expected", lambda _: Passes()),
        patch.object(torch.testing, "assert_close", lambda *_, **__: None),
        # On a GPU, rows of boxes are not checked on the host.
        patch.object(torch.Tensor, "is_cuda", property(lambda _: True)),
        patch.object(torch.cuda, "current_device", lambda: 0),
    ):
        for step in steps:
            begin = time.monotonic()
            jobs = list(STEPS[step]())[:most]
            for name, job in jobs[part - 1 :: parts]:
                try:
                    with suppress(WrongAnswerError):  # after everything is compiled
                        job()
                except Exception as reason:  # the others can be compiled
                    print(f"{step}: {name}: {type(reason).__name__}: {reason}", flush=True)
            print(f"{step}: {len(jobs)} jobs, {time.monotonic() - begin:.0f} s", flush=True)
    return count


def archive(cache: Path, path: Path) -> int:
    """Write the compiled code of the cache, and what Triton needs to find it. Return the number of kernels."""
    files = [file for file in sorted(cache.rglob("*")) if file.suffix in (*MACHINE_CODE, ".json")]
    with tarfile.open(path, "w:xz") as target:
        for file in files:
            target.add(file)
    return sum(file.suffix in MACHINE_CODE for file in files)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu prepare", description=__doc__)
    parser.add_argument("--steps", default="smoke,answers,cases", help=f"separated by commas, of {', '.join(STEPS)}")
    parser.add_argument("--part", default="1/1", help="the part of the jobs to compile, as in 1/2")
    parser.add_argument("--most", type=int, help="largest number of jobs per step")
    parser.add_argument("--gpu", default="cuda:90", help="compile for this GPU, as in cuda:90, cuda:80 or hip:gfx942")
    parser.add_argument("--archive", type=Path, help="write the compiled code to this file, a .tar.xz")
    options = parser.parse_args(arguments)
    steps = options.steps.split(",")
    unknown = set(steps) - set(STEPS)
    if unknown:
        parser.error(f"--steps: expected names among {', '.join(STEPS)}, got {', '.join(sorted(unknown))}")
    try:
        part, parts = map(int, options.part.split("/"))
        if not 1 <= part <= parts:
            raise ValueError
    except ValueError:
        parser.error(f"--part: expected a part like 1/2, got {options.part}")
    kind, _, model = options.gpu.partition(":")
    if not (kind == "cuda" and model.isdecimal()) and not (kind == "hip" and model.startswith("gfx")):
        parser.error(f"--gpu: expected a GPU like cuda:90 or hip:gfx942, got {options.gpu}")
    os.environ.update({COMPILE_ONLY: "1", "TRITON_INTERPRET": "0"})
    cache = Path(os.environ.setdefault("TRITON_CACHE_DIR", str(Path.home() / ".triton" / "cache")))
    print(f"{prepare(steps, part, parts, options.most, (kind, model))} launches compiled into {cache}")
    if options.archive is not None:
        print(f"{archive(cache, options.archive)} kernels written to {options.archive}")
    return 0
