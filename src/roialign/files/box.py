"""One box of a file, and the values of which it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .._typing import Corners
from .._validate import LARGEST_COORDINATE
from .coco import five_numbers
from .orientation import Annotated, Size
from .problems import FileError
from .text import shown

#: What can be done with a rotated box.
GIVE_HULL = "and upright boxes are pooled: give its upright hull"


@dataclass(frozen=True, slots=True)
class Box:
    """One row of a box file."""

    row: int
    """Its index in the list, in the annotations, or in the rows below the header."""
    where: str
    """File and row, for messages."""
    image: str | None
    """The name of its image as in the file; None if the file does not name images."""
    corners: Corners
    """(x1, y1, x2, y2) in image pixels."""
    label: str
    image_size: Size | None = None
    """The width and height of its image, if the file has them."""
    score: float | None = None
    """The score of a detection."""
    stated_size: Size | None = None
    """What a table has as width and height beside a box. It is probably the size of its image, which nothing relies on.
    """


def annotated_by(boxes: Sequence[Box]) -> Annotated | None:
    """Return the size of an image and its boxes, as their file gives them."""
    if not boxes:
        return None
    sized = next((box for box in boxes if box.image_size is not None), boxes[0])
    return Annotated(sized.image_size, [box.corners for box in boxes], sized.where)


def four_numbers(values: object, expected: str) -> Corners:
    """Return four finite numbers. Text and booleans are not accepted as numbers."""
    if not isinstance(values, list) or len(values) != 4:
        raise FileError(f"{expected}, found {shown(values)}{five_numbers(values, GIVE_HULL)}")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= LARGEST_COORDINATE:  # false for NaN
            limit = f" up to {LARGEST_COORDINATE:g}" if number and abs(value) < math.inf else ""
            raise FileError(f"{expected}, four finite numbers{limit}, found {shown(values)}")
    one, two, three, four = map(float, values)
    return one, two, three, four


def image_name(value: object) -> str:
    """Return the name of an image. A number is converted to text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1:
        return str(int(value))
    if not isinstance(value, str) or not value:
        raise FileError(f"image: expected the name of an image, found {shown(value)}")
    return value


def label_text(value: object) -> str:
    """Return the text of a label. It may be the only item of a list. NaN, as pandas writes it, is no label."""
    one = value
    if isinstance(value, list) and len(value) < 2:
        one = value[0] if value else None
    if one is None or one != one:
        return ""
    if isinstance(one, (str, int, float)):
        return str(one)
    raise FileError(f"label: expected text, found {shown(value)}")
