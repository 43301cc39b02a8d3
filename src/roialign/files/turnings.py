"""Counts how images with an EXIF orientation were read, because one file may have been read in two ways."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .._text import counted
from .orientation import Turning
from .problems import Problems

#: How an image was read: as stored, or upright because nothing decides.
AS_STORED, ASSUMED = "as stored", "assumed upright"


@dataclass
class Turnings:
    """The number of images that were read as stored, and of those assumed to be upright, with the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, Path] = field(default_factory=dict)

    def look(self, image: Path, turning: Turning) -> None:
        """Count an image."""
        if turning.is_assumed or not turning.upright:
            kind = ASSUMED if turning.upright else AS_STORED
            self.add(Turnings(Counter({kind: 1}), {kind: image}))

    def add(self, other: Turnings) -> None:
        """Add the images of another part of the run. The first in the order of their names is kept."""
        self.counts += other.counts
        for kind, image in other.first.items():
            self.first[kind] = min(self.first.get(kind, image), image)

    def remark_in(self, problems: Problems) -> None:
        """Add a remark if images were read in both ways."""
        if len(self.first) < 2:
            return
        images = counted(self.counts[ASSUMED], "image is", "images are")
        what = (
            f"EXIF orientation: {images} read upright by default, such as this one, but {self.first[AS_STORED]} as "
            "stored: if all were annotated on the stored pixels, give their widths and heights as stored, or remove "
            "the tags"
        )
        problems.remark(self.first[ASSUMED], what, "EXIF orientations")
