"""The steps of a run, the most informative first, with their time limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .tools import program

GROUPS = ("first", "second", "third")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Step:
    """Jobs of one kind, shared by several workers."""

    name: str
    group: str
    """The command that it belongs to."""
    tells: str
    work: tuple[str, ...]
    """The arguments of `benchmarks.gpu.work`."""
    limit: float
    """Time limit for all jobs together, in seconds."""
    job_limit: float
    """Time limit for one job, in seconds."""
    most_workers: int = 1
    checker: str | None = None
    """A program that runs the workers and whose exit code is a separate verdict."""

    @property
    def workers(self) -> int:
        return max(1, min(CORES, self.most_workers))

    def command(self, log: Path) -> list[str]:
        work = [sys.executable, "-m", "benchmarks.gpu.work", *self.work]
        if self.checker is None:
            return work
        path = program(self.checker)
        if path is None:
            raise FileNotFoundError(f"{self.checker} is not here")
        return [path, "--error-exitcode", "9", "--target-processes", "application-only", "--log-file", str(log), *work]

    def environment(self) -> dict[str, str]:
        threads = str(max(1, CORES // self.workers))
        more = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} if self.checker else {}
        return {"OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1", **more}


def tests(*arguments: str) -> tuple[str, ...]:
    return ("tests", *(f"tests/gpu/{argument}" for argument in arguments))


MANY = 16
#: Every case has about a dozen kernels, which take a second each to compile, so all types do not fit into a few
#: minutes.
CASES, FEW_TYPES = tests("test_cases.py"), "(float32 or float16) and not bfloat16"
#: Two variants of every operator: planar float32, and channels-last float16 with vector loads.
SOME_BOUNDS = ("-k", "dtype0 or dtype3")
TOOLS = Step("tools", "first", "hardware and versions", ("tools",), 60, 40)
STEPS = (
    TOOLS,
    Step("smoke", "first", "every kernel once, compared with the reference", tests("test_smoke.py"), 90, 60, MANY),
    Step("answers", "first", "real sizes, compared with float64; compiles for speed", ("answers",), 80, 60, 8),
    Step("cases", "first", "the table of cases, two types", (*CASES, "-k", FEW_TYPES), 150, 60, MANY),
    Step("speed", "first", "times, with torchvision and einsum", ("speed", "first", "torchvision", "einsum"), 150, 40),
    Step("memory", "first", "temporary memory of calls", ("memory",), 30, 20),
    Step(
        "models",
        "first",
        "backbones, detectors, rotated overlaps, compared with the CPU",
        tests("test_backbones.py", "test_rotated_iou.py"),
        60,
        40,
        4,
    ),
    Step(
        "bounds",
        "first",
        "some bounds checks under compute-sanitizer",
        (*tests("test_bounds.py"), *SOME_BOUNDS),
        70,
        60,
        MANY,
        "compute-sanitizer",
    ),
    Step(
        "more cases",
        "second",
        "the table of cases, two more types",
        (*CASES, "-k", f"not ({FEW_TYPES})"),
        300,
        60,
        MANY,
    ),
    Step("determinism", "second", "the same bits, also in a graph", tests("test_determinism.py"), 150, 90, MANY),
    Step(
        "calls",
        "second",
        "streams, autocast, torch.compile",
        tests("test_calls.py", "test_values.py"),
        150,
        90,
        8,
    ),
    Step("first calls", "second", "compilation times", ("first-calls",), 60, 60),
    Step("operators", "second", "times of the other operators", ("operators",), 90, 40),
    Step("more speed", "second", "times of all other cells", ("speed", "other", "torchvision", "einsum"), 300, 40),
    Step("candidates", "second", "results of other block sizes; compiles them", ("tune", "check"), 60, 60, MANY),
    Step("tune", "second", "times of other block sizes", ("tune", "time"), 120, 30),
    Step("guards", "third", "all bounds checks with guards", tests("test_bounds.py"), 90, 60, MANY),
    Step(
        "all bounds",
        "third",
        "all bounds checks under compute-sanitizer",
        tests("test_bounds.py"),
        200,
        90,
        MANY,
        "compute-sanitizer",
    ),
    Step("large", "third", "more than 2^31 elements", tests("test_large.py"), 240, 120, 2),
    Step("deterministic", "third", "times, with torchvision's deterministic mode", ("deterministic",), 120, 100),
)


def chosen(words: Sequence[str]) -> list[Step]:
    """Return the steps by names of steps or groups, or all of them, in the order of the table."""
    known = {"all", *GROUPS, *(step.name for step in STEPS)}
    unknown = [word for word in words if word not in known]
    if unknown:
        names = ", ".join(dict.fromkeys(["all", *GROUPS, *(step.name for step in STEPS)]))
        raise ValueError(f"expected names among {names}, got {', '.join(unknown)}")
    return [step for step in STEPS if {"all", step.name, step.group} & set(words)]
