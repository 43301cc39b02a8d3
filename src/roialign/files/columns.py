"""Recognises the columns of a box table by the names that programs usually give them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from .._text import cut, one_line
from .._typing import Corners
from .orientation import TOLERANCE
from .percent import PercentColumns, find_percent
from .problems import FileError
from .text import MOST_CHARACTERS, quoted, shown

T = TypeVar("T")

#: The meaning of the four numbers of a box: two corners; a corner and a size; a centre and a size.
BOX_FORMATS = ("xyxy", "xywh", "cxcywh")
#: The four columns of each format, by the names used in `--columns`.
ROLES = {"xyxy": ("x1", "y1", "x2", "y2"), "xywh": ("x", "y", "width", "height"), "cxcywh": ("cx", "cy", "w", "h")}
#: The names of the four columns in other programs. The first four that are all present are used. Names that are only
#: used for boxes come before those that may belong to the image (`width`, `height`) or to a point (`x`, `y`).
KNOWN = (
    ("xyxy", ("x1", "y1", "x2", "y2")),
    ("xyxy", ("x0", "y0", "x1", "y1")),
    ("xyxy", ("xmin", "ymin", "xmax", "ymax")),
    ("xyxy", ("minx", "miny", "maxx", "maxy")),
    ("xyxy", ("xtl", "ytl", "xbr", "ybr")),
    ("xyxy", ("left", "top", "right", "bottom")),
    ("xyxy", ("bboxx1", "bboxy1", "bboxx2", "bboxy2")),
    ("xyxy", ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax")),
    ("xywh", ("bboxx", "bboxy", "bboxwidth", "bboxheight")),
    ("xywh", ("bboxx", "bboxy", "bboxw", "bboxh")),
    ("xywh", ("valuex", "valuey", "valuewidth", "valueheight")),
    ("xywh", ("bbleft", "bbtop", "bbwidth", "bbheight")),
    ("xywh", ("xmin", "ymin", "w", "h")),
    ("xywh", ("xmin", "ymin", "width", "height")),
    ("xywh", ("left", "top", "w", "h")),
    ("xywh", ("left", "top", "width", "height")),
    ("cxcywh", ("cx", "cy", "w", "h")),
    ("cxcywh", ("cx", "cy", "width", "height")),
    ("cxcywh", ("xcenter", "ycenter", "w", "h")),
    ("cxcywh", ("xcenter", "ycenter", "width", "height")),
    ("cxcywh", ("centerx", "centery", "w", "h")),
    ("cxcywh", ("centerx", "centery", "width", "height")),
    ("xywh", ("x", "y", "w", "h")),
    ("xywh", ("x", "y", "width", "height")),
)
#: The column names, without differences in spelling, that can be part of a box.
BOX_NAMES = {name for names in (*ROLES.values(), *(names for _, names in KNOWN)) for name in names}
#: Two corners of a quadrilateral, which are no box, and the names of all four, counted from 1 or 0.
QUADRILATERAL_PARTS = (("x1", "y1", "x2", "y2"), ("x0", "y0", "x1", "y1"))
QUADRILATERALS = tuple({f"{axis}{n}" for n in range(first, first + 4) for axis in "xy"} for first in (0, 1))
#: Names of the image column. File names come first, then ids, which may be file names without the ending.
IMAGE_NAMES = (
    *("image", "filename", "file", "path", "filepath", "imagepath", "imagename", "imagefile", "imagefilename"),
    *("imagefilepath", "imageuri", "imageurl", "img", "imgpath", "imgname", "imgfile", "imgfilename", "fname", "uri"),
    *("url", "photo", "photoname", "picture", "picturename", "frame", "framename", "frameid", "framenumber"),
    *("imageid", "imgid", "photoid", "pictureid"),
)
#: Names of the columns with the width and height of the image.
SIZE_NAMES = (("imagewidth", "imageheight"), ("imgwidth", "imgheight"))
#: A column may name images if its name contains one of `IMAGE_WORDS` and none of `OTHER_WORDS`.
IMAGE_WORDS = {
    *("image", "images", "img", "file", "filename", "path", "photo", "photograph", "picture", "pic", "frame", "scan"),
    *("slide", "page", "uri", "url", "foto", "bild"),
}
OTHER_WORDS = {
    *("width", "height", "w", "h", "size", "area", "count", "number", "format", "mode", "type", "depth", "channels"),
    *("score", "rate", "scale", "hash", "date", "time", "label", "class", "category"),
}
#: Matches the file name of an image or a feature map.
IMAGE_VALUE = re.compile(
    r".*[^\s./\\]\.(avif|bmp|gif|jfif|jp2|jpe|jpe?g|p[bgnp]m|png|tiff?|webp|heic|dcm|np[yz])", re.IGNORECASE | re.DOTALL
)
#: Matches the name of a column with the angle of a rotated box, without differences in spelling.
ANGLE_NAME = re.compile(r"(bb|b?box|obb)?(rotation|(rot(ation)?)?angle|theta)((in)?(deg(rees?)?|rad(ians?)?))?")
#: The number of columns of lists and objects that are named in a message.
MOST_NESTED = 3
#: Names of the label column. Ids come last.
LABEL_NAMES = (
    *("rectanglelabels", "valuerectanglelabels"),
    *("label", "class", "classname", "category", "categoryname", "labelname", "name", "labels", "classes", "species"),
    *("labelid", "classid", "categoryid"),
)


class BoxColumns(NamedTuple):
    """The four columns of a box, by their names in the table."""

    names: tuple[str, str, str, str]
    box_format: str


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns to read, by their names in the table."""

    image: str | None
    label: str | None
    box: tuple[str, str, str, str]
    box_format: str
    size: tuple[str, str] | None = None
    """The columns with the width and height of the image."""
    beside: tuple[str, str] | None = None
    """The columns `width` and `height` that are no part of the box. They may have the size of the image."""
    angle: str | None = None
    """The unread column that may rotate the box. None if the user named columns of the box, which is then upright."""
    percent: PercentColumns | None = None
    """What is known about boxes in percent of the size of the image; None if they are in pixels."""
    others: tuple[BoxColumns, ...] = ()
    """Other columns that hold a box. Empty if the user named those to read."""


@dataclass(frozen=True, slots=True)
class TableReading:
    """How the user wants a box file to be read."""

    columns: Mapping[str, str] | None = None
    """The column names by role: a role in `ROLES`, image or label."""
    box_format: str | None = None
    """One of `BOX_FORMATS`. If None, the column names decide, and numbers without names are corners."""

    @property
    def box_roles(self) -> list[str]:
        """The roles of the box whose columns the user named."""
        return [role for role in self.columns or () if role not in ("image", "label")]


@lru_cache(maxsize=1000)
def normalised(name: str) -> str:
    """Remove differences in spelling from a column name: ``X_Min``, ``x min`` and ``xmin`` become equal."""
    return re.sub(r"[\s_.-]+", "", name.lower())


class AmbiguousColumnsError(FileError):
    """Columns can be understood in several ways."""


def find_columns(names: Sequence[str], reading: TableReading, whole_box: str | None = None) -> Columns:
    """Find the columns of the image, the label and the box among `names`. `whole_box` has all four numbers of the box.

    Raises
    ------
    FileError
        If there are no columns of a box, or if a column that the user gave does not exist.
    AmbiguousColumnsError
        If two columns have the name of one that is read, or the corners are those of a quadrilateral.
    """
    return _found_columns(tuple(names), tuple((reading.columns or {}).items()), reading.box_format, whole_box)


@lru_cache(maxsize=100)
def _found_columns(
    names: tuple[str, ...], roles: tuple[tuple[str, str], ...], box_format: str | None, whole_box: str | None
) -> Columns:
    """Find columns; see :func:`find_columns`. The items of a list usually have the same names."""
    reading = TableReading(dict(roles), box_format)
    by_name = {normalised(name): name for name in reversed(names)}
    given: dict[str, str] = {}
    for role, column in roles:
        if column not in names and normalised(column) not in by_name:
            raise FileError(f"{role}: no column {column!r} among {', '.join(names) or 'none'}")
        given[role] = column if column in names else by_name[normalised(column)]
    if whole_box is None:
        box, named_format = _box_columns(by_name, given, names)
    else:
        box, named_format = (whole_box,) * 4, "xyxy"
    columns = Columns(
        image=given.get("image") or _first(IMAGE_NAMES, by_name),
        label=given.get("label") or _first(LABEL_NAMES, by_name),
        box=box,
        box_format=box_format or named_format,
        size=next(((by_name[w], by_name[h]) for w, h in SIZE_NAMES if w in by_name and h in by_name), None),
    )
    if not reading.box_roles:
        used = (columns.image, columns.label, *box)
        angle = next((name for key, name in by_name.items() if _is_angle(key) and name not in used), None)
        others = (known for known in _known_boxes(by_name) if set(known.names).isdisjoint(box))
        columns = replace(columns, angle=angle, others=tuple(others), beside=_beside(by_name, box))
    percent = find_percent([*map(normalised, box)], by_name, is_named=bool(reading.box_roles))
    if percent is not None:
        columns = replace(columns, percent=percent, size=percent.size, angle=percent.angle or columns.angle)
    if len(by_name) < len(names):  # two names are equal, apart from their spelling
        for name in filter(None, (columns.image, columns.label, *box)):
            _check_once(name, names, is_given=name in given.values())
    return columns


def _beside(by_name: Mapping[str, str], box: Sequence[str]) -> tuple[str, str] | None:
    """Return the columns `width` and `height` that are no part of the box, if there are both."""
    width, height = by_name.get("width"), by_name.get("height")
    return None if width is None or height is None or width in box or height in box else (width, height)


def _check_once(name: str, names: Sequence[str], *, is_given: bool) -> None:
    """Check that no other column has this name, even in another spelling unless the user gave the name."""
    alike = [other for other in names if other == name or (not is_given and normalised(other) == normalised(name))]
    if len(alike) > 1:
        shown = ", ".join(map(quoted, alike))
        raise AmbiguousColumnsError(f"expected each column once, found {shown}: remove one, or give --columns")


@lru_cache(maxsize=1000)
def _is_angle(name: str) -> bool:
    return ANGLE_NAME.fullmatch(name) is not None


class UnreadColumnError(FileError):
    """A column that is not read names the images, or rotates the boxes."""


def check_upright(values: Mapping[str, object], columns: Columns) -> None:
    """Check that the box of a row is not rotated.

    Raises
    ------
    UnreadColumnError
        If it has an angle other than 0.
    """
    angle = None if columns.angle is None else values[columns.angle]
    number = 0.0 if angle is None or angle == "" else _number(angle)
    if number is None or not (number == 0 or math.isnan(number)):
        raise UnreadColumnError(
            f"column {quoted(columns.angle)} rotates boxes, as by {shown(angle)}, but is not read: give the upright "
            "hulls without it, or if the boxes are upright, name their columns with --columns"
        )


def _number(value: Any) -> float | None:
    """Return a value as a number, if it is one. Text may have a decimal comma."""
    try:
        return float(value.replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return None


def other_box_text(values: Mapping[str, object], columns: Columns, corners: Corners) -> str | None:
    """Say that other columns of a row hold another box; None if there are none, or if they hold the same box.

    The corners may differ by rounding, and by a pixel if one box contains its last pixels and the other does not.
    """
    for other in columns.others:
        numbers = [number for name in other.names if (number := _number(values.get(name))) is not None]
        if len(numbers) < 4 or not all(map(math.isfinite, numbers)):
            continue
        found = corners_of(_four(numbers), other.box_format)
        if any(abs(one - another) > TOLERANCE for one, another in zip(found, corners, strict=True)):
            named = zip(ROLES[other.box_format], other.names, strict=True)
            option = one_line(",".join(f"{role}={name}" for role, name in named))
            unread = ", ".join(map(quoted, other.names))
            return f"columns {unread} are not read, and hold other boxes: to read them, --columns {option}"
    return None


def check_unread(values: Mapping[str, object], box: Sequence[str]) -> list[str]:
    """Return the unread columns of a row whose names suggest that they name images.

    Raises
    ------
    UnreadColumnError
        If a value in an unread column is the file name of an image.
    """
    others = {name: value for name, value in values.items() if name not in box}
    for name, value in others.items():
        if isinstance(value, str) and IMAGE_VALUE.fullmatch(value):
            raise UnreadColumnError(
                f"column {quoted(name)} names images, such as {quoted(value)}, but is not read: "
                f"give --columns {one_line(f'image={name}')}"
            )
    return [name for name in others if _may_name_images(name)]


@lru_cache(maxsize=1000)
def _may_name_images(column: str) -> bool:
    """Whether the words of a column name, such as ``scan_no`` or ``pageId``, suggest that it names images."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", column).lower())
    return not IMAGE_WORDS.isdisjoint(words) and OTHER_WORDS.isdisjoint(words)


def nested_text(nested: Mapping[str, Sequence[str]]) -> str:
    """Return the end of the message that there is no box. `nested` has the names in each column of lists and objects.

    >>> nested_text({"objects": ["bbox", "category"]})
    "; lists and objects in 'objects' (bbox, category) are not read: write one row per box"
    """
    if not nested:
        return ""
    columns = [f"{quoted(name)} ({', '.join(parts)})" if parts else quoted(name) for name, parts in nested.items()]
    named = [cut(one_line(column), MOST_CHARACTERS) for column in columns[:MOST_NESTED]]
    more = ["..."] if len(columns) > MOST_NESTED else []
    return f"; lists and objects in {', '.join(named + more)} are not read: write one row per box"


def _box_columns(by_name: Mapping[str, str], given: Mapping[str, str], names: Sequence[str]) -> BoxColumns:
    for box_format, roles in ROLES.items():
        if any(role in given for role in roles):
            missing = [role for role in roles if role not in given and role not in by_name]
            if missing:
                raise FileError(f"a box of {', '.join(roles)} needs {', '.join(missing)} too")
            return BoxColumns(_four(given.get(role) or by_name[role] for role in roles), box_format)
    first = next(_known_boxes(by_name), None)
    if first is not None:
        return first
    if _is_quadrilateral(by_name):
        raise AmbiguousColumnsError(
            "expected a box of two corners, found the corners of a quadrilateral: write the smallest and the largest x "
            "and y, or name the columns of two corners with --columns"
        )
    raise FileError(
        "expected a header with x1, y1, x2, y2, or xmin, ymin, xmax, ymax, or x, y, width, height, found "
        f"{', '.join(names) or 'nothing'}; give other names with --columns"
    )


def _known_boxes(by_name: Mapping[str, str]) -> Iterator[BoxColumns]:
    """Yield the columns of every box with known names, in the order of `KNOWN`."""
    excluded = QUADRILATERAL_PARTS if _is_quadrilateral(by_name) else ()
    for box_format, known in KNOWN:
        if all(name in by_name for name in known) and known not in excluded:
            yield BoxColumns(_four(by_name[name] for name in known), box_format)


def _is_quadrilateral(by_name: Mapping[str, str]) -> bool:
    return any(corners <= by_name.keys() for corners in QUADRILATERALS)


def _four(values: Iterable[T]) -> tuple[T, T, T, T]:
    one, two, three, four = values
    return one, two, three, four


def _first(known: Sequence[str], by_name: Mapping[str, str]) -> str | None:
    return next((by_name[name] for name in known if name in by_name), None)


def corners_of(numbers: Corners, box_format: str) -> Corners:
    """Convert a box in one of `BOX_FORMATS` to corners (x1, y1, x2, y2).

    >>> corners_of((10.0, 20.0, 4.0, 6.0), "xywh")
    (10.0, 20.0, 14.0, 26.0)
    >>> corners_of((10.0, 20.0, 4.0, 6.0), "cxcywh")
    (8.0, 17.0, 12.0, 23.0)
    """
    one, two, three, four = numbers
    if box_format == "xywh":
        return one, two, one + three, two + four
    if box_format == "cxcywh":
        return one - three / 2, two - four / 2, one + three / 2, two + four / 2
    return numbers
