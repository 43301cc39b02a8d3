"""Boxes and problems as the tests make and read them."""

from __future__ import annotations

from roialign.files.boxes import Box
from roialign.files.problems import Problems


def box(row: int, corners: tuple[float, float, float, float], image: str | None = None, label: str = "") -> Box:
    return Box(row, f"boxes.csv, row {row}", image, corners, label)


def found(problems: Problems) -> list[str]:
    return [str(problem) for problem in problems]
