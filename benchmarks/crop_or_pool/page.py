"""Writes docs/crop-or-pool.md from the figures of a run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from ..markdown import table
from .encoders import NAMES
from .scores import Interval

HEAD = """# Crop or pool?

<!-- Written by `python -m benchmarks.crop_or_pool --write-docs` from docs/crop-or-pool.json. -->

There are two ways to compute a feature vector of a box. **Crop**: cut the box out, resize it, and run the backbone on
it. **Pool**: run the backbone once on the whole image, and pool its feature map in every box with RoIAlign, as
`roialign extract` does. Cropping needs one pass per box; pooling needs one pass per image. This page measures how much
time pooling saves, how similar its vectors are to those of crops, and how well both find the same object in other
images.
"""

HOW = """## How it was measured

`python -m benchmarks.crop_or_pool` took {minutes:.0f} minutes on {where}, which also ran other programs. Times are
processor times of one thread, with the image in memory. On every image, both ways are timed in turn.

The scenes are **synthetic**. {pieces} pieces of six photographs, 100 x 100 pixels with round corners, are pasted on a
textured background of 640 x 640 pixels. In every scene, a piece is resized to 40 to 120 pixels, rotated by up to 15
degrees, and made brighter or darker. It is therefore known which boxes show the same object. Of 100 boxes, 20 contain
an object, and the others are at random places, like proposals. A search looks for an object among the boxes of all
other scenes. A box without an object is never a correct result, even if it overlaps an object. Photographs are
different from such scenes: their objects belong to their surroundings and are seen from more sides.

The backbone is EfficientNet-Lite0 with ImageNet weights. Two of its levels are compared: its head (1280 channels,
stride 32), which the classifier uses, and stride 16 (112 channels). The vector of a crop is the mean of its feature
map. The vector of a pooled box is computed by RoIAlign with one bin and exact sampling. Crops are resized to 224 x 224
pixels, the size that the network was trained with, or to 112 x 112. For pooling, the image has its own size, 640
pixels, or is enlarged to 1280.

Brackets are 95 % intervals from a bootstrap with {draws} samples of the scenes, each with all its boxes. They describe
the variation between scenes with the same pieces, not between objects.
"""

COLUMNS = """*nearest* is how often the nearest box shows the same object. If R boxes show the object, *recall* is the
share of them among the R nearest boxes. *small* objects are shorter than 64 pixels. *cosine* is the cosine similarity
to the vector of the crop of 224 pixels at the same level. *rank correlation* is Spearman's, between the similarities of
a box to all boxes of other scenes and the same similarities computed from crops of 224 pixels. Similarities are
cosines.
"""


def write_page(report: dict[str, Any]) -> str:
    """Return the whole page."""
    cells = report["cells"]
    counts = list(dict.fromkeys(cell["boxes"] for cell in cells))
    parts = [HEAD, _short(cells, counts), _time(cells, counts), "## Retrieval and agreement\n", COLUMNS]
    parts += [_quality(cells, boxes, level) for level in NAMES[::-1] for boxes in counts]
    how = HOW.format(minutes=report["minutes"], where=report["machine"], pieces=report["pieces"], draws=report["draws"])
    return "\n".join([*parts, "\n\n".join(map(_filled, how.split("\n\n")))]) + "\n"


def _filled(paragraph: str) -> str:
    """Wrap a paragraph or a list item."""
    indent = "  " if paragraph.startswith("- ") else ""
    return textwrap.fill(paragraph.strip(), 120, subsequent_indent=indent, break_on_hyphens=False)


def _of(cells: Sequence[dict[str, Any]], boxes: int, way: str, level: str) -> dict[str, Any]:
    return next(cell for cell in cells if (cell["boxes"], cell["way"], cell["level"]) == (boxes, way, level))


def _short(cells: Sequence[dict[str, Any]], counts: Sequence[int]) -> str:
    """Return the summary."""
    most = counts[-1]
    lines = []
    for level in NAMES[::-1]:
        crop, pool = _of(cells, most, "crop 224", level), _of(cells, most, "pool 640", level)
        lines.append(
            f"- At {_level(level)}, pooling finds {_text(pool['recall'])} of the boxes of an object, and crops of 224 "
            f"pixels find {_text(crop['recall'])}, with {most} boxes per image."
        )
    passes = {way: _of(cells, most, way, NAMES[0])["milliseconds"][0] for way in ("crop 224", "crop 112", "pool 640")}
    even = {way: passes["pool 640"] / (passes[way] / most) for way in ("crop 224", "crop 112")}
    lines.append(
        f"- One pass over 640 x 640 pixels takes as long as {even['crop 224']:.0f} crops of 224 pixels, or "
        f"{even['crop 112']:.0f} of 112. With fewer boxes, cropping is faster; with {most}, pooling is "
        f"{most / even['crop 224']:.0f} and {most / even['crop 112']:.1f} times as fast."
    )
    head, finer = (Interval(*_of(cells, most, "pool 640", level)["recall"]) for level in NAMES[::-1])
    if finer.low > head.high:
        lines.append(
            "- Pool from stride 16 rather than from the head. The head mixes the surroundings of a box into its "
            "features, and a small box covers only one or two pixels of its map."
        )
    large, small = (Interval(*_of(cells, most, way, NAMES[1])["recall"]) for way in ("crop 224", "crop 112"))
    if small.high >= large.low:
        lines.append(
            f"- Crops of 112 pixels find {_text(small)} at the head: for objects this small, larger crops do not help."
        )
    intro = _filled(
        "These figures are for EfficientNet-Lite0. The head is the last map, of stride 32. Brackets are 95 % "
        "confidence intervals."
    )
    return f"## In short\n\n{intro}\n\n" + "\n".join(map(_filled, lines)) + "\n"


def _level(level: str) -> str:
    return "the head" if level == "head" else level


def _time(cells: Sequence[dict[str, Any]], counts: Sequence[int]) -> str:
    ways = list(dict.fromkeys(cell["way"] for cell in cells))
    titles = ["way", *(f"{boxes} boxes" for boxes in counts)]
    lines = []
    for way in ways:
        own = [_of(cells, boxes, way, NAMES[0]) for boxes in counts]
        lines.append([way, *(f"{cell['milliseconds'][0]:.0f} ({_number(cell['factor'][0])} x)" for cell in own)])
    return (
        "## Time\n\nMilliseconds per image. Brackets show how many times as fast as crops of 224 pixels.\n\n"
        + table(titles, lines)
        + "\n"
    )


def _quality(cells: Sequence[dict[str, Any]], boxes: int, level: str) -> str:
    names = ("nearest", "recall", "recall_small", "recall_large", "cosine", "rank_correlation")
    titles = ["way", "nearest", "recall", "of small", "of large", "cosine", "rank correlation"]
    own = [cell for cell in cells if cell["boxes"] == boxes and cell["level"] == level]
    lines = [[cell["way"], *(_text(cell[name]) for name in names)] for cell in own]
    queries = own[0]["queries"]
    return (
        f"**{_level(level)[0].upper()}{_level(level)[1:]}, {boxes} boxes per image**, {queries} searches:\n\n"
        + table(titles, lines)
        + "\n"
    )


def _text(values: Sequence[float]) -> str:
    interval = Interval(*values)
    if math.isnan(interval.mean):
        return "-"
    if interval.low == interval.high:
        return f"{interval.mean:.2f}"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
