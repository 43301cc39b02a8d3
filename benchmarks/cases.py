"""The cases: layouts, types, samplings and directions that are measured for each workload."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from .workloads import WORKLOADS, Workload

SAMPLINGS = ("S2", "S0", "exact")
DIRECTIONS = ("forward", "backward-features", "backward-boxes")
LAYOUTS = ("NHWC", "NCHW")
DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Case:
    """One case of the benchmark.

    In `sampling`, S2 is a grid of 2 x 2 points per bin, S0 is the adaptive grid, and exact is the limit of infinitely
    many points. The operator is RoIAlign's mean or one of `benchmarks.operators`.
    """

    workload: str
    layout: str
    dtype: str
    sampling: str
    direction: str
    threads: int
    operator: str = "mean"


@dataclass(frozen=True)
class Selection:
    """A product of settings for one workload."""

    workload: str
    samplings: tuple[str, ...] = ("S2",)
    directions: tuple[str, ...] = ("forward",)
    layouts: tuple[str, ...] = LAYOUTS
    dtypes: tuple[str, ...] = ("float32",)
    operators: tuple[str, ...] = ("mean",)

    def cases(self, threads: Iterable[int]) -> list[Case]:
        settings = product(self.operators, self.directions, self.samplings, self.dtypes, self.layouts, threads)
        return [
            Case(self.workload, layout, dtype, sampling, direction, count, operator)
            for operator, direction, sampling, dtype, layout, count in settings
        ]


HALF = ("float16", "bfloat16")
NHWC = ("NHWC",)

SUITE = (
    Selection("box-test", SAMPLINGS),
    Selection("box-test", dtypes=HALF),
    Selection("box-train", ("S2", "S0"), DIRECTIONS),
    Selection("box-train", ("exact",), DIRECTIONS, NHWC),
    Selection("box-train", ("S2",), ("forward", "backward-features"), NHWC, ("bfloat16",)),
    Selection("mask-test", ("S2", "exact")),
    Selection("mask-test-1000", SAMPLINGS),
    Selection("mask-test-1000", layouts=NHWC, dtypes=("bfloat16",)),
    Selection("c4", ("S0", "exact")),
    Selection("c4", ("S0",), ("backward-features",)),
    Selection("vit"),
    Selection("vit", directions=("backward-features",)),
    Selection("vit", layouts=NHWC, dtypes=("bfloat16",)),
    Selection("vit-small"),
    Selection("video", ("S0",)),
    Selection("dense-small"),
    Selection("huge-box", ("S0", "exact"), ("forward", "backward-features")),
    Selection("hot-tile", directions=("forward", "backward-features")),
    Selection("between"),
    Selection("one-roi", directions=DIRECTIONS),
    Selection("ten-rois"),
)

#: The operators that read every channel in every bin, and the mean that they are compared with.
SAMPLED = ("mean", "max", "rotated", "deformable")
OPERATOR_SUITE = (
    Selection("operators", ("S2", "S0"), layouts=NHWC, operators=(*SAMPLED, "onnx-max")),
    Selection("operators", ("S2", "S0"), ("backward-features", "backward-boxes"), NHWC, operators=SAMPLED),
    Selection("operators", ("S2", "S0"), layouts=NHWC, operators=("position-sensitive",)),
    Selection("operators", layouts=NHWC, operators=("position-sensitive-pool", "roi-pool")),
)

QUICK_SUITE = (
    Selection("box-test", ("S2",)),
    Selection("box-test", ("exact",), layouts=NHWC),
    Selection("box-test", layouts=NHWC, dtypes=("bfloat16",)),
    Selection("box-train", directions=("forward", "backward-features"), layouts=NHWC),
    Selection("one-roi"),
)


def select_cases(suite: Iterable[Selection], names: Iterable[str], threads: Iterable[int]) -> list[Case]:
    """Return the cases of a suite in order, each once. If names are given, return only these workloads."""
    wanted, counts = set(names), list(threads)
    unknown = wanted - set(WORKLOADS)
    if unknown:
        raise ValueError(f"workload: expected one of {', '.join(WORKLOADS)}, got {', '.join(sorted(unknown))}")
    chosen = [selection for selection in suite if not wanted or selection.workload in wanted]
    # A workload that is named but not in the quick suite is measured in its simplest form.
    missing = sorted(wanted - {selection.workload for selection in chosen})
    chosen += [Selection(name) for name in missing]
    return list(dict.fromkeys(case for selection in chosen for case in selection.cases(counts)))


def group_cases(cases: Iterable[Case]) -> list[tuple[Workload, list[Case]]]:
    """Return groups of cases that are measured interleaved. A group is one workload, split by threads if outputs are
    large."""
    groups: dict[tuple[str, int], list[Case]] = {}
    for case in cases:
        large = WORKLOADS[case.workload].output_elements > 100_000_000
        groups.setdefault((case.workload, case.threads if large else 0), []).append(case)
    return [(WORKLOADS[name], members) for (name, _), members in groups.items()]


def parse_threads(values: Iterable[str]) -> list[int]:
    """Parse thread counts from the command line. "all" means every CPU that this process may use."""
    every = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [every if value == "all" else int(value) for value in values]
    if any(count < 1 for count in counts):
        raise ValueError(f"threads: expected counts of at least 1, got {counts}")
    return list(dict.fromkeys(counts))
