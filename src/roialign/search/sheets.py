"""Draws a contact sheet with each query and the regions found for it, cropped from their images."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .._text import printable
from .._validate import check_path
from ..features.backbone import ImageSize
from ..features.images import read_resized
from ..files.orientation import Annotated
from ..files.problems import FileError
from ..files.writing import atomic_write
from .queries import Corners

#: The side of a crop, the height of a line of text, and the gap between tiles, in pixels.
SIDE, LINE_HEIGHT, GAP = 176, 15, 10
FONT_SIZE = 12
#: The number of tiles per row, and of characters per line of text.
COLUMNS, CHARACTERS = 6, 27
#: The margin around a box, as a fraction of its longer side.
CONTEXT = 0.35
#: Vermilion for queries and blue for regions found, from the palette of Okabe and Ito.
QUERY_COLOUR, FOUND_COLOUR = "#D55E00", "#0072B2"
GROUND, INK, EMPTY = "#FFFFFF", "#222222", "#DDDDDD"
#: The largest height in pixels by format. PNG allows more, but such a picture is of no use.
LARGEST = {"PNG": 65_000, "JPEG": 65_000, "WEBP": 16_383}
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class Tile:
    """A region to draw."""

    image: Path
    box: Corners
    """x1, y1, x2, y2 in pixels of the image."""
    lines: tuple[str, ...]
    """The lines of text below it, shortened if they are too long."""
    image_size: tuple[int, int] | None = None
    """The width and height that the image must have, upright or as stored."""


def draw_sheet(path: str | Path, queries: Sequence[Tile], found: Sequence[Sequence[Tile]]) -> dict[Path, str]:
    """Draw each query with the regions found for it, and save the picture.

    Parameters
    ----------
    path : str or Path
        The file to write, ending in .png, .jpg or .webp.
    queries : sequence of Tile
        The queries. Each starts a new row.
    found : sequence of sequences of Tile
        For each query, the regions found, nearest first.

    Returns
    -------
    dict
        The errors of images that cannot be read. Their tiles are empty.

    Raises
    ------
    ValueError
        If the name has another ending, a box is not finite, or the picture would be too large for its format.
    """
    path = check_path(path, "path")
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
    content = io.BytesIO()  # Pillow's encoders do not say why a file cannot be written
    sheet.save(content, format=image_format)
    with atomic_write(path) as file:
        file.write(content.getvalue())
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
        short = textwrap.shorten(printable(text), CHARACTERS, placeholder="...") or printable(text)[:CHARACTERS]
        draw.text((left, top + SIDE + 2 + number * LINE_HEIGHT), short, fill=INK, font=font)


def _window(box: Corners, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the part of an image to show around a box, which is at least one pixel."""
    x1, y1, x2, y2 = box
    more = CONTEXT * max(x2 - x1, y2 - y1)
    left = int(min(max(x1 - more, 0), width - 1))
    top = int(min(max(y1 - more, 0), height - 1))
    return left, top, int(min(max(x2 + more, left + 1), width)), int(min(max(y2 + more, top + 1), height))
