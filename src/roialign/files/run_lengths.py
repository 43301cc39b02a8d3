"""Masks of COCO files, checked before pycocotools' C code sees them: it trusts every length that it is given.

pycocotools draws polygons, and compares masks; what reaches it from here has counts that add up to the image, and
outlines whose length is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from .._extras import require
from .problems import FileError
from .text import quoted

Array = np.ndarray[Any, np.dtype[Any]]
#: ``{"size": [height, width], "counts": bytes}``, as pycocotools takes it.
RunLengths: TypeAlias = dict[str, Any]

#: A point of an outline may lie so many pixels from the image's corner.
LARGEST_POINT = 1e6
#: So many pixels an outline may be long: drawing it takes time and memory in proportion.
LONGEST_OUTLINE = 2e6
#: Letters of a compressed count, and the bits of one.
FIRST_LETTER, LETTERS = 48, 64
MORE, SIGN, VALUE_BITS = 0x20, 0x10, 5
#: Letters that one count may have: enough for the largest image.
LONGEST_COUNT = 7
POLYGONS = "segmentation: expected polygons [[x1, y1, x2, y2, x3, y3, ...], ...]"
RUN_LENGTHS = "run lengths with size and counts"


def run_lengths_of(segmentation: Any, height: int, width: int) -> RunLengths:
    """A COCO segmentation of an image as run lengths.

    Parameters
    ----------
    segmentation : list of polygons, or dict
        Polygons are flat lists x1, y1, x2, y2, ... of three points or more; run lengths have ``size`` and ``counts``,
        a list or compressed text.
    height, width : int
        Those of the image.

    Raises
    ------
    FileError
        Saying what is wrong with it.
    """
    coco_masks = _coco_masks()
    check_segmentation(segmentation, height, width)
    if isinstance(segmentation, list):
        outlines = [list(map(float, polygon)) for polygon in segmentation]
        merged: RunLengths = coco_masks.merge(coco_masks.frPyObjects(outlines, height, width))
        return merged
    counts = checked_counts(segmentation, height, width)
    encoded: RunLengths = coco_masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return encoded


def check_segmentation(segmentation: object, height: int, width: int) -> None:
    """That :func:`run_lengths_of` can take it.

    Raises
    ------
    FileError
        Saying what is wrong with it.
    """
    if isinstance(segmentation, Mapping):
        checked_counts(segmentation, height, width)
    elif isinstance(segmentation, list) and segmentation:
        bound = sum(_check_polygon(polygon, number) for number, polygon in enumerate(segmentation))
        if bound > LONGEST_OUTLINE and sum(map(_length, segmentation)) > LONGEST_OUTLINE:
            raise FileError(f"segmentation: expected outlines of at most {LONGEST_OUTLINE:.0f} pixels")
    else:
        raise FileError(f"{POLYGONS} or {RUN_LENGTHS}, got {quoted(segmentation)}")


def _coco_masks() -> Any:
    """pycocotools' own, loaded when it is needed: the models do without it."""
    require("detection", "pycocotools")
    from pycocotools import mask

    return mask


def box_outline(box: Sequence[float]) -> list[list[float]]:
    """A box (x, y, width, height) as COCO's polygons."""
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def mask_of(run_lengths: RunLengths) -> Array:
    """``[H, W]`` uint8 of 0 and 1."""
    coco_masks = _coco_masks()
    return np.asarray(coco_masks.decode(run_lengths), dtype=np.uint8)


def area_of(run_lengths: RunLengths) -> float:
    """How many pixels a mask has."""
    coco_masks = _coco_masks()
    return float(coco_masks.area(run_lengths))


def encoded(mask: Array) -> RunLengths:
    """The run lengths of a mask ``[H, W]``, their counts as text."""
    coco_masks = _coco_masks()
    lengths = coco_masks.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(lengths["size"]), "counts": lengths["counts"].decode()}


def checked_counts(run_lengths: Mapping[str, Any], height: int, width: int) -> list[int]:
    """The counts of run lengths as numbers, whichever form they have.

    Raises
    ------
    FileError
        Where they are not those of a mask of `height` x `width` pixels.
    """
    size, counts = run_lengths.get("size"), run_lengths.get("counts")
    if not isinstance(size, (list, tuple)) or len(size) != 2 or counts is None:
        raise FileError(f"segmentation: expected {RUN_LENGTHS}, got {quoted(dict(run_lengths))}")
    if list(size) != [height, width]:
        raise FileError(f"segmentation: expected size {[height, width]}, as of the image, got {quoted(size)}")
    if isinstance(counts, (str, bytes)):
        numbers = _decompressed(counts)
    elif isinstance(counts, list):
        numbers = [_count(count) for count in counts]
    else:
        raise FileError(f"segmentation: expected counts as a list or as text, got {quoted(counts)}")
    total = sum(numbers)
    if total != height * width:
        raise FileError(f"segmentation: expected counts that add up to {height * width} pixels, got {quoted(total)}")
    return numbers


def _count(value: object) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:  # type: ignore[operator]
        raise FileError(f"segmentation: expected counts of 0 and more, got {quoted(value)}")
    return int(value)  # type: ignore[call-overload,no-any-return]


def _decompressed(text: str | bytes) -> list[int]:
    """The numbers of COCO's compressed counts.

    A letter has five bits of a number and one that says that more follow; the fourth and every later number is written
    as what it is more than the number two before it.
    """
    try:
        letters = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise FileError(f"segmentation: counts: letter {error.start} is none of COCO's compressed counts") from None
    values = letters.astype(np.int64) - FIRST_LETTER
    wrong = np.flatnonzero((values < 0) | (values >= LETTERS))
    if wrong.size:
        raise FileError(f"segmentation: counts: letter {wrong[0]} is none of COCO's compressed counts")
    if not values.size:
        return []
    ends = np.flatnonzero((values & MORE) == 0)
    if not ends.size or ends[-1] != len(values) - 1:
        raise FileError("segmentation: counts: cut short")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > LONGEST_COUNT:
        raise FileError("segmentation: counts: a number of too many letters")
    places = np.arange(len(values)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((values & (MORE - 1)) << (VALUE_BITS * places), starts)
    negative = (values[ends] & SIGN) != 0
    numbers[negative] -= np.int64(1) << (VALUE_BITS * lengths[negative])
    return _summed(numbers)


def _summed(numbers: Array) -> list[int]:
    """From the fourth on, each number is added to the one two before it."""
    summed = numbers.astype(object)  # whole numbers of any size: nothing overflows
    for first in (1, 2):
        summed[first::2] = np.cumsum(summed[first::2])
    if any(number < 0 for number in summed):
        raise FileError(f"segmentation: expected counts of 0 and more, got {quoted(min(summed))}")
    return [int(number) for number in summed]


def _check_polygon(polygon: object, number: int) -> float:
    """That it is one; no less than its length in pixels, which is cheap, and nearly always enough."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        got = f"{len(polygon)} numbers" if isinstance(polygon, list) else quoted(polygon)
        raise FileError(f"{POLYGONS}, got {got} as polygon {number}")
    values = [v.item() if isinstance(v, np.generic) else v for v in polygon]
    if not set(map(type, values)) <= {int, float} or not all(-LARGEST_POINT <= v <= LARGEST_POINT for v in values):
        wrong = next(v for v in values if type(v) not in (int, float) or not abs(v) <= LARGEST_POINT)
        finite = f"expected finite numbers within {LARGEST_POINT:.0f} pixels"
        raise FileError(f"segmentation: polygon {number}: {finite}, got {quoted(wrong)}")
    return 3 * float(max(map(abs, values))) * len(values)


def _length(polygon: list[float]) -> float:
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    return math.fsum(math.dist(one, other) for one, other in pairwise([*points, points[0]]))
