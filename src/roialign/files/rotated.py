"""Rotated boxes of annotation files: rows (centre x, centre y, width, height, angle) in radians, clockwise.

Their form is that of :mod:`roialign.files.rectangles`: the width is the longer side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._typing import Array
from .problems import DatasetError
from .rectangles import RotatedBox, corners, long_edge, minimal_rectangle
from .run_lengths import mask_of, run_lengths_of
from .text import quoted

#: The error for a rotated box that is not in detectron2's form.
FIVE_NUMBERS = "bbox: expected [centre x, centre y, width, height, degrees], finite, with positive sides"


def rotated_shape(
    outline: Any, size: tuple[int, int], least: float | None, name: str = "segmentation"
) -> dict[str, Any]:
    """Return the smallest rectangle around the outline of an object as `rotated_box`, and its upright hull as `bbox`.

    Parameters
    ----------
    outline : list of polygons, or dict of run lengths
        As :func:`roialign.files.run_lengths.check_segmentation` accepts it. All polygons get one rectangle.
    size : (int, int)
        The height and width of the image.
    least : float or None
        Both sides of the rectangle must be longer than this. If None, they may be 0.
    name : str
        The name of the outline in messages.

    Raises
    ------
    DatasetError
        If the height of the rectangle is at most `least`.
    """
    if isinstance(outline, list):
        points = np.concatenate([np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in outline])
    else:
        points = _corners_of_pixels(mask_of(run_lengths_of(outline, *size)))
    box = minimal_rectangle(points) if len(points) else (0.0,) * 5
    if least is not None and box[3] <= least:
        raise DatasetError(f"{name}: expected an outline with an area, got {quoted(outline)}")
    return with_hull(box)


def _corners_of_pixels(mask: Array) -> Array:
    """Return the corners ``[P, 2]`` of the first and the last pixel of every row of a mask ``[H, W]``."""
    rows = np.flatnonzero(mask.any(axis=1))
    left, right = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([x, y], axis=1) for x in (left, right) for y in (rows, rows + 1)])


def from_degrees(box: list[Any], are_numbers: bool, least: float | None) -> dict[str, Any]:
    """Convert detectron2's five numbers to `rotated_box`, its upright hull `bbox`, and its outline.

    The fifth number is the angle in degrees, positive counter-clockwise.

    Raises
    ------
    DatasetError
        If they are not finite numbers, or if a side is negative or at most `least`.
    """
    if not are_numbers or min(box[2:4]) < 0 or (least is not None and min(box[2:4]) <= least):
        raise DatasetError(f"{FIVE_NUMBERS}, got {quoted(box)}")
    x, y, width, height, degrees = map(float, box)
    rotated = long_edge(x, y, width, height, -math.radians(math.fmod(degrees, 360.0)))
    return {**with_hull(rotated), "segmentation": [[side for point in corners(rotated) for side in point]]}


def from_upright(box: list[float]) -> dict[str, Any]:
    """Convert an upright box (x, y, width, height) to `rotated_box`, with itself as `bbox`."""
    x, y, width, height = box
    return {"rotated_box": list(long_edge(x + width / 2, y + height / 2, width, height, 0.0)), "bbox": box}


def with_hull(box: RotatedBox) -> dict[str, Any]:
    """Return a rotated box as `rotated_box`, and its upright hull as COCO's `bbox`."""
    x, y, width, height, angle = box
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    across, down = width * cosine + height * sine, width * sine + height * cosine
    return {"rotated_box": list(box), "bbox": [x - across / 2, y - down / 2, across, down]}
