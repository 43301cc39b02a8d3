"""The cells of the table (workload, direction, layout, type and number of points), and the most important ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

KINDS = (("NHWC", "fp16"), ("NCHW", "fp32"), ("NCHW", "fp16"), ("NHWC", "fp32"), ("NHWC", "bf16"))
#: The most important cells: the workloads of the goals, two points per axis, without bfloat16.
FIRST = ("box-test", "box-train", "mask-test", "c4", "hot-tile")
WORKLOAD_NAMES = (*FIRST, "mask-test-1000", "vit", "vit-small", "video")


class Cell(NamedTuple):
    """A cell of the separable family."""

    workload: str
    backward: bool
    layout: str
    dtype: str
    points: int

    @property
    def what(self) -> str:
        return "backward" if self.backward else "forward"

    @property
    def name(self) -> str:
        return f"{self.workload} {self.what} {self.layout} {self.dtype} S{self.points}"


def cells_of(workloads: Sequence[str] = WORKLOAD_NAMES) -> Iterator[Cell]:
    """Iterate over all cells, workload by workload."""
    for workload in workloads:
        for points in (2, 0):
            for layout, dtype in KINDS:
                for backward in (False, True):
                    yield Cell(workload, backward, layout, dtype, points)


def first_cells() -> list[Cell]:
    """Return the most important cells: those of the goals first, then all workloads in one layout before the next
    layout."""
    return [
        Cell(workload, backward, layout, dtype, 2)
        for layout, dtype in KINDS[:4]
        for workload in FIRST
        for backward in (False, True)
    ]


def other_cells() -> list[Cell]:
    """Return all other cells."""
    first = set(first_cells())
    return [cell for cell in cells_of() if cell not in first]
