"""The goals for the kernels on a GPU like an H200, and the worst cell of each goal in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .results import Row


class Goal(NamedTuple):
    """A limit for a figure of some rows."""

    text: str
    takes: Callable[[Row], bool]
    value: Callable[[Row], float | None]
    limit: float
    is_least: bool
    """Whether the limit is a minimum; otherwise it is a maximum."""


def speed(row: Row) -> float | None:
    """How many times faster than the peer."""
    return None if row.peer_us is None or row.ours_us is None else row.peer_us / row.ours_us


def over_floor(row: Row) -> float | None:
    return None if row.ours_us is None else row.ours_us / row.floor_us


def is_box_test(row: Row, layout: str, dtype: str) -> bool:
    return (row.workload, row.what, row.points, row.layout, row.dtype) == ("box-test", "forward", 2, layout, dtype)


def is_box_train(row: Row, peer: str) -> bool:
    return (row.workload, row.what, row.peer) == ("box-train", "backward", peer) and row.dtype in ("fp32", "fp16")


SMALL = ("mask-test", "c4", "vit", "video")
GOALS = (
    Goal(
        "box-test S2 forward, fp16 NHWC: 4 times as fast as torchvision",
        lambda row: is_box_test(row, "NHWC", "fp16"),
        speed,
        4,
        True,
    ),
    Goal(
        "box-test S2 forward, fp32 NCHW: twice as fast as torchvision",
        lambda row: is_box_test(row, "NCHW", "fp32"),
        speed,
        2,
        True,
    ),
    Goal(
        "both: within 2.5 times the floor",
        lambda row: is_box_test(row, "NHWC", "fp16") or is_box_test(row, "NCHW", "fp32"),
        over_floor,
        2.5,
        False,
    ),
    Goal(
        "box-train backward, fp32 and fp16: 4 times as fast as torchvision's atomics",
        lambda row: is_box_train(row, "torchvision"),
        speed,
        4,
        True,
    ),
    Goal(
        "box-train backward, fp32 and fp16: 50 times as fast as torchvision's deterministic mode",
        lambda row: is_box_train(row, "torchvision, deterministic"),
        speed,
        50,
        True,
    ),
    Goal(
        f"{', '.join(SMALL)}: as fast as torchvision and einsum in every cell",
        lambda row: row.workload in SMALL and row.peer in ("torchvision", "einsum"),
        speed,
        1,
        True,
    ),
    Goal(
        "extra memory: 5 % of inputs and outputs",
        lambda _: True,
        lambda row: None if row.extra_memory is None else 100 * row.extra_memory,
        5,
        False,
    ),
)


def judged(rows: Iterable[Row]) -> list[list[str]]:
    """Return every goal with its worst value, the cell that has it, and whether the goal is met."""
    held, lines = list(rows), []
    for goal in GOALS:
        own = [row for row in held if goal.takes(row)]
        values = [(value, row) for row in own if (value := goal.value(row)) is not None]
        if not values:
            lines.append([goal.text, "-", "-", "not measured"])
            continue
        value, row = (min if goal.is_least else max)(values, key=lambda pair: pair[0])
        is_met = value >= goal.limit if goal.is_least else value <= goal.limit
        where = f"{row.workload}, {row.what}, {row.layout} {row.dtype} S{row.points}, beside {row.peer}"
        missing = f"; {len(own) - len(values)} not measured" if len(own) > len(values) else ""
        lines.append([goal.text, f"{value:.2f}", where, ("met" if is_met else "**missed**") + missing])
    return lines
