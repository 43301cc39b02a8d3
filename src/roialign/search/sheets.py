"""Draws a contact sheet: each query, and the regions that were found for it, cut out of their images."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .._text import printable
from ..extract.output import atomic_write
from ..features.backbone import ImageSize
from ..features.images import read_resized
from ..files.orientation import Annotated
from ..files.problems import FileError
from .queries import Corners

#: Pixels of the side of a cut-out, of a line of text, and between tiles.
SIDE, LINE_HEIGHT, GAP = 176, 15, 10
FONT_SIZE = 12
#: Tiles in a line of the sheet, and letters in a line of text.
COLUMNS, LETTERS = 6, 27
#: So much of the box's longer side is shown around it.
CONTEXT = 0.35
#: Okabe and Ito's vermilion for queries, and their blue for what was found.
QUERY_COLOUR, FOUND_COLOUR = "#D55E00", "#0072B2"
GROUND, INK, EMPTY = "#FFFFFF", "#222222", "#DDDDDD"
#: Pixels of a side that a format can have; a larger sheet is no use in any.
LARGEST = {"PNG": 65_000, "JPEG": 65_000, "WEBP": 16_383}
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class Tile:
    """A region to draw."""

    image: Path
    box: Corners
    """x1, y1, x2, y2 in pixels of the image."""
    lines: tuple[str, ...]
    """Text below it, of which each is cut to one line."""
    image_size: tuple[int, int] | None = None
    """Width and height that the image must have, upright or as stored."""


def draw_sheet(path: str | Path, queries: Sequence[Tile], found: Sequence[Sequence[Tile]]) -> dict[Path, str]:
    """Draw each query with what was found for it, and save the picture in the format of its name.

    Parameters
    ----------
    path : str or Path
        Ending in .png, .jpg or .webp.
    queries : sequence of Tile
        Drawn at the beginning of a line of their own.
    found : sequence of sequences of Tile
        For each query, the nearest region first.

    Returns
    -------
    dict
        By image that cannot be read: why. Its tiles are empty.

    Raises
    ------
    ValueError
        For a name with another ending, a box that is not finite, or more tiles than a picture of the format can hold.
    """
    path = Path(path)
    image_format = FORMATS.get(path.suffix.lower())
    if image_format is None:
        raise ValueError(f"path: expected a name ending in {', '.join(FORMATS)}, got {path}")
    rows: list[list[tuple[Tile, str]]] = []
    for query, regions in zip(queries, found, strict=True):
        for tile in (query, *regions):
            if not all(map(math.isfinite, tile.box)):
                raise ValueError(f"box: expected finite numbers, got {tile.box} of {tile.image}")
        tiles = [(query, QUERY_COLOUR), *((region, FOUND_COLOUR) for region in regions)]
        rows += [tiles[first : first + COLUMNS] for first in range(0, len(tiles), COLUMNS)]
    columns = max(map(len, rows), default=1)
    most_lines = max((len(tile.lines) for row in rows for tile, _ in row), default=0)
    width, height = SIDE + GAP, SIDE + GAP + most_lines * LINE_HEIGHT
    if len(rows) * height + GAP > LARGEST[image_format]:
        most = (LARGEST[image_format] - GAP) // height
        raise ValueError(f"{path}: {len(rows)} lines of {COLUMNS} regions are too many for one picture: at most {most}")
    sheet = Image.new("RGB", (columns * width + GAP, len(rows) * height + GAP), GROUND)
    places = [
        (tile, colour, (GAP + column * width, GAP + line * height))
        for line, row in enumerate(rows)
        for column, (tile, colour) in enumerate(row)
    ]
    problems: dict[Path, str] = {}
    for image in dict.fromkeys(tile.image for tile, _, _ in places):  # each is read once
        own = [place for place in places if place[0].image == image]
        try:
            annotated = Annotated(own[-1][0].image_size)
            pixels = Image.fromarray(read_resized(image, annotated, ImageSize()).pixels)
        except FileError as error:
            problems[image] = str(error)
            pixels = None
        for tile, colour, corner in own:
            _draw_tile(sheet, tile, colour, corner, pixels)
    with atomic_write(path) as file:
        sheet.save(file, format=image_format)
    return problems


def _draw_tile(sheet: Image.Image, tile: Tile, colour: str, corner: tuple[int, int], image: Image.Image | None) -> None:
    left, top = corner
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    if image is None:
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), fill=EMPTY)
        draw.text((left + 6, top + 6), "cannot be read", fill=INK, font=font)
    else:
        window = _window(tile.box, image.width, image.height)
        cut = image.crop(window)
        scale = SIDE / max(cut.size)
        size = (max(round(cut.width * scale), 1), max(round(cut.height * scale), 1))
        shift = (left + (SIDE - size[0]) // 2, top + (SIDE - size[1]) // 2)
        sheet.paste(cut.resize(size, Image.Resampling.LANCZOS), shift)
        x1, y1, x2, y2 = tile.box
        edges = [shift[0] + (x1 - window[0]) * scale, shift[1] + (y1 - window[1]) * scale]
        edges += [shift[0] + (x2 - window[0]) * scale, shift[1] + (y2 - window[1]) * scale]
        lowest, highest = (left, top) * 2, (left + SIDE - 1, top + SIDE - 1) * 2
        inside = [min(max(edge, low), high) for edge, low, high in zip(edges, lowest, highest, strict=True)]
        if inside[0] <= inside[2] and inside[1] <= inside[3]:
            draw.rectangle(inside, outline=colour, width=3)
    for number, text in enumerate(tile.lines):
        short = textwrap.shorten(printable(text), LETTERS, placeholder="...") or printable(text)[:LETTERS]
        draw.text((left, top + SIDE + 2 + number * LINE_HEIGHT), short, fill=INK, font=font)


def _window(box: Corners, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of an image around a box that is shown: at least a pixel, whatever the box."""
    x1, y1, x2, y2 = box
    more = CONTEXT * max(x2 - x1, y2 - y1)
    left = int(min(max(x1 - more, 0), width - 1))
    top = int(min(max(y1 - more, 0), height - 1))
    return left, top, int(min(max(x2 + more, left + 1), width)), int(min(max(y2 + more, top + 1), height))
