"""Boxes and problems as the tests make and read them."""

from __future__ import annotations

from roialign.files.boxes import Box
from roialign.files.problems import Problems


def box(row: int, corners: tuple[float, float, float, float], image: str | None = None, label: str = "") -> Box:
    return Box(row, f"boxes.csv, row {row}", image, corners, label)


def found(problems: Problems) -> list[str]:
    return [str(problem) for problem in problems]


def rows_of(boxes: list[Box]) -> list[tuple[int, str | None, tuple[float, ...], str]]:
    return [(box.row, box.image, box.corners, box.label) for box in boxes]
