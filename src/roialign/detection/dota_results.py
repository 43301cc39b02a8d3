"""Detections in DOTA's format for results: a file for each class, with rotated boxes as polygons."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files.problems import Problems
from ..files.rows import Identity
from ..files.text import quoted
from ..files.writing import atomic_write
from .average_precision import Row

#: The number of decimals of scores and of coordinates.
SCORE_DECIMALS, DECIMALS = 6, 2


def write_dota_results(
    folder: Path,
    rows: Sequence[Row],
    classes: Mapping[int, str],
    images: Mapping[Identity, str],
    problems: Problems,
) -> list[Path]:
    """Write ``folder/Task1_CLASS.txt`` for every class, as DOTA's evaluation server expects.

    Concretely, a line is ``image score x1 y1 x2 y2 x3 y3 x4 y4``: a detection with the corners of its rotated box, in
    pixels, clockwise on the screen. `image` is the name of the image's file without the ending. A class without a
    detection gets an empty file. Every file is written atomically, and replaces an earlier one.

    Parameters
    ----------
    folder : Path
        Created if it does not exist.
    rows : sequence of dict
        The detections in COCO's results format, with the polygon of the rotated box in `segmentation`.
    classes : mapping
        The name of each category id. Characters that do not belong in a file name are replaced by ``_``.
    images : mapping
        The name of each image id.
    problems : Problems
        Collects the images whose name contains a space, which the format does not allow. They are left out.

    Returns
    -------
    list of Path
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {number: Path(name).stem for number, name in images.items()}
    lines: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        name = names[row["image_id"]]
        if len(name.split()) != 1:
            problems.add(
                images[row["image_id"]], f"expected a name without spaces in DOTA's format, got {quoted(name)}"
            )
            continue
        corners = " ".join(f"{side:.{DECIMALS}f}" for side in row["segmentation"][0])
        lines[row["category_id"]].append(f"{name} {row['score']:.{SCORE_DECIMALS}f} {corners}\n")
    written = []
    for number, stem in _file_names(classes).items():
        written.append(folder / f"Task1_{stem}.txt")
        with atomic_write(written[-1]) as file:
            file.write("".join(lines[number]).encode("utf-8", "surrogateescape"))  # names as the files have them
    return written


def _file_names(classes: Mapping[int, str]) -> dict[int, str]:
    """A unique part of a file name for each class."""
    plain = {number: re.sub(r"[^\w.+-]", "_", name) for number, name in classes.items()}
    several = [name for name in plain.values() if list(plain.values()).count(name) > 1]
    return {number: f"{name}_{number}" if name in several else name for number, name in plain.items()}
