"""Masks of COCO files, validated before they are passed to pycocotools.

The C code of pycocotools does not check its input. It draws polygons and compares masks. Here, counts are checked to
add up to the number of pixels of the image, and the length of outlines is limited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from .._extras import require
from .._typing import Array
from .problems import FileError
from .text import quoted

#: ``{"size": [height, width], "counts": bytes}``, as pycocotools expects it.
RunLengths: TypeAlias = dict[str, Any]

#: The largest coordinate of a point of an outline, in pixels.
LARGEST_POINT = 1e6
#: The largest length of an outline in pixels. The time and memory to draw it are proportional to its length.
LONGEST_OUTLINE = 2e6
#: The first character of compressed counts, and the number of different characters.
FIRST_LETTER, LETTERS = 48, 64
#: The bits of a character: whether more characters follow, the sign, and the number of value bits.
MORE, SIGN, VALUE_BITS = 0x20, 0x10, 5
#: The largest number of characters of one count, enough for the largest image.
LONGEST_COUNT = 7
POLYGONS = "segmentation: expected polygons [[x1, y1, x2, y2, x3, y3, ...], ...]"
RUN_LENGTHS = "run lengths with size and counts"
NOT_A_COUNT = "is not valid in COCO's compressed counts"


def run_lengths_of(segmentation: Any, height: int, width: int) -> RunLengths:
    """Convert a COCO segmentation to run lengths.

    Parameters
    ----------
    segmentation : list of polygons, or dict
        Polygons are flat lists x1, y1, x2, y2, ... of three points or more. Run lengths have ``size`` and ``counts``,
        which is a list or compressed text.
    height, width : int
        The size of the image.

    Raises
    ------
    FileError
        If the segmentation is invalid.
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
    """Check that :func:`run_lengths_of` accepts a segmentation.

    Raises
    ------
    FileError
        If the segmentation is invalid.
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
    """Import `pycocotools.mask` when it is needed, because the models do not need it."""
    require("detection", "pycocotools")
    from pycocotools import mask

    return mask


def box_outline(box: Sequence[float]) -> list[list[float]]:
    """Convert a box (x, y, width, height) to COCO polygons."""
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def mask_of(run_lengths: RunLengths) -> Array:
    """Decode run lengths to a uint8 mask ``[H, W]`` of 0 and 1."""
    coco_masks = _coco_masks()
    return np.asarray(coco_masks.decode(run_lengths), dtype=np.uint8)


def area_of(run_lengths: RunLengths) -> float:
    """Return the number of pixels of a mask."""
    coco_masks = _coco_masks()
    return float(coco_masks.area(run_lengths))


def cropped(run_lengths: RunLengths, x: int, y: int, width: int, height: int) -> Array:
    """Decode a part of a mask to a uint8 mask ``[height, width]``. Pixels outside the image are 0.

    The memory is that of the columns of the part, not of the whole image.
    """
    rows, columns = run_lengths["size"]
    part = np.zeros((height, width), dtype=np.uint8)
    left, right, top, bottom = max(x, 0), min(x + width, columns), max(y, 0), min(y + height, rows)
    if left >= right or top >= bottom:
        return part
    counts = run_lengths["counts"]
    ends = np.cumsum(counts if isinstance(counts, list) else _decompressed(counts), dtype=np.int64)
    if len(ends) % 2:
        ends = ends[:-1]  # the last run is background
    borders = ends.clip(left * rows, right * rows) - left * rows
    steps = np.zeros((right - left) * rows + 1, dtype=np.int8)  # sums may overflow on the way, and are right in the end
    np.add.at(steps, borders[0::2], 1)
    np.add.at(steps, borders[1::2], -1)
    strip = np.cumsum(steps[:-1], dtype=np.int8).reshape(right - left, rows)
    part[top - y : bottom - y, left - x : right - x] = strip[:, top:bottom].T
    return part


def placed(mask: Array, x: int, y: int, height: int, width: int) -> RunLengths:
    """Encode an image of `height` x `width` pixels with a mask ``[h, w]`` at column `x` and row `y`, as `encoded` does.

    What lies outside the image is cut off. The memory is that of the columns of the mask, not of the whole image.
    """
    mask = np.asarray(mask, dtype=bool)[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    x, y = max(x, 0), max(y, 0)
    columns = np.flatnonzero(mask.any(axis=0)) if mask.size else np.zeros(0, dtype=np.int64)
    first, last = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)
    strip = np.zeros((last - first, height), dtype=bool)
    strip[:, y : y + len(mask)] = mask[:, first:last].T
    changes = np.flatnonzero(np.diff(strip.ravel(), prepend=False, append=False)) + (x + first) * height
    counts = np.diff(changes, prepend=0, append=height * width)
    counts = (counts if counts[-1] else counts[:-1]).tolist()  # no empty run at the end
    lengths = _coco_masks().frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": list(lengths["size"]), "counts": lengths["counts"].decode()}


def nothing(height: int, width: int) -> RunLengths:
    """Run lengths of a mask without a pixel."""
    return run_lengths_of({"size": [height, width], "counts": [height * width]}, height, width)


def encoded(mask: Array) -> RunLengths:
    """Encode a mask ``[H, W]`` as run lengths with compressed counts as text."""
    coco_masks = _coco_masks()
    lengths = coco_masks.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(lengths["size"]), "counts": lengths["counts"].decode()}


def checked_counts(run_lengths: Mapping[str, Any], height: int, width: int) -> list[int]:
    """Return the counts of run lengths as numbers, decompressed if necessary.

    Raises
    ------
    FileError
        If they are not the counts of a mask of `height` x `width` pixels.
    """
    size, counts = run_lengths.get("size"), run_lengths.get("counts")
    if not isinstance(size, (list, tuple)) or len(size) != 2 or counts is None:
        raise FileError(f"segmentation: expected {RUN_LENGTHS}, got {quoted(dict(run_lengths))}")
    if list(size) != [height, width]:
        raise FileError(f"segmentation: expected size {[height, width]}, the size of the image, got {quoted(size)}")
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
        raise FileError(f"segmentation: expected counts of at least 0, got {quoted(value)}")
    return int(value)  # type: ignore[call-overload,no-any-return]


def _decompressed(text: str | bytes) -> list[int]:
    """Decompress COCO's compressed counts.

    Each character has five bits of a number and one bit that tells whether more characters follow. From the fourth
    number on, the difference to the number two places before is stored.
    """
    try:
        letters = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise FileError(f"segmentation: counts: character {error.start} {NOT_A_COUNT}") from None
    values = letters.astype(np.int64) - FIRST_LETTER
    wrong = np.flatnonzero((values < 0) | (values >= LETTERS))
    if wrong.size:
        raise FileError(f"segmentation: counts: character {wrong[0]} {NOT_A_COUNT}")
    if not values.size:
        return []
    ends = np.flatnonzero((values & MORE) == 0)
    if not ends.size or ends[-1] != len(values) - 1:
        raise FileError("segmentation: counts: cut short")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > LONGEST_COUNT:
        raise FileError("segmentation: counts: a number with too many characters")
    places = np.arange(len(values)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((values & (MORE - 1)) << (VALUE_BITS * places), starts)
    negative = (values[ends] & SIGN) != 0
    numbers[negative] -= np.int64(1) << (VALUE_BITS * lengths[negative])
    return _summed(numbers)


def _summed(numbers: Array) -> list[int]:
    """Undo the differences: from the fourth number on, add the number two places before."""
    summed = numbers.astype(object)  # Python integers do not overflow
    for first in (1, 2):
        summed[first::2] = np.cumsum(summed[first::2])
    if any(number < 0 for number in summed):
        raise FileError(f"segmentation: expected counts of at least 0, got {quoted(min(summed))}")
    return [int(number) for number in summed]


def _check_polygon(polygon: object, number: int) -> float:
    """Check a polygon, and return an upper bound of its length in pixels, which is cheap to compute."""
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
