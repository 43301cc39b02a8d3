"""Boxes in percent of the size of the image, as in tables made from Label Studio's exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .._text import one_line
from .._typing import Corners
from .orientation import Size
from .problems import FileError
from .text import shown

#: The names of the columns of a box, without differences in spelling. They may follow `value`, which holds them.
NAMES, HOLDER, ANGLE = ("x", "y", "width", "height"), "value", "rotation"
#: The ends of the names of the columns with the size of the image. Their boxes are in percent.
WIDTH, HEIGHT = "originalwidth", "originalheight"
#: The smallest and the largest number of a box, with room for rounding.
LEAST, MOST = -1.0, 101.0


class PercentColumns(NamedTuple):
    """The columns of boxes in percent."""

    size: tuple[str, str]
    """The columns with the width and height of the image."""
    angle: str | None
    """The column with the angle."""
    remark: str
    """How the columns are read, for the user."""


def find_percent(box: Sequence[str], by_name: Mapping[str, str], *, is_named: bool) -> PercentColumns | None:
    """Return the columns of boxes in percent; None if the boxes are in pixels.

    Parameters
    ----------
    box : sequence of str
        The names of the four columns without differences in spelling.
    by_name : mapping
        All columns by their names without differences in spelling.
    is_named : bool
        Whether the user named the columns of the box. Then, `x`, `y`, `width` and `height` are in pixels.
    """
    holder = box[0].removesuffix(NAMES[0])
    if [*box] != [holder + name for name in NAMES] or not (holder.endswith(HOLDER) or (holder == "" and not is_named)):
        return None
    starts = [name.removesuffix(WIDTH) for name in by_name if name.endswith(WIDTH)]
    sizes = [(by_name[start + WIDTH], by_name[start + HEIGHT]) for start in starts if start + HEIGHT in by_name]
    if not sizes:
        return None
    own = [by_name[name] for name in box]
    read = f"columns {', '.join(own)} are read as percent of {', '.join(sizes[0])}, as Label Studio exports them"
    named = ",".join(f"{role}={name}" for role, name in zip(NAMES, own, strict=True))
    remark = read if holder else f"{read}: if they are pixels, --columns {named}"
    return PercentColumns(sizes[0], by_name.get(holder + ANGLE), one_line(remark))


def pixels_of(box: Corners, size: Size | None, values: Mapping[str, object], columns: tuple[str, str]) -> Corners:
    """Convert a box in percent to pixels. `values` has the size of the image in these `columns`.

    Raises
    ------
    FileError
        If the row has no size, or if the box does not lie in the image.
    """
    if size is None:
        found = ", ".join(shown(values.get(name)) for name in columns)
        raise FileError(f"{', '.join(columns)}: expected the width and height of the image, found {found}")
    x, y, width, height = box
    if min(box) < LEAST or max(x + width, y + height) > MOST:
        raise FileError(f"expected a box in percent of {', '.join(columns)}, from 0 to 100, found {shown([*box])}")
    return x * size[0] / 100, y * size[1] / 100, width * size[0] / 100, height * size[1] / 100
