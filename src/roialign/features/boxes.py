"""Where the boxes of an image come from: a file of them, a grid, or a detector."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..files.boxes import Box, annotated_by
from ..files.orientation import Annotated
from .backbone import Backbone, BackboneError, Detections

#: What stands in place of a file for the boxes that a detector finds.
DETECTIONS = "detections"
#: How a grid is written in place of a file.
GRID = re.compile(r"grid:([1-9]\d*)x([1-9]\d*)")


class BoxSource(ABC):
    """The boxes of every image."""

    has_scores: bool = False
    """Whether its boxes have a score, which is a column of the result then."""

    def of_backbone(self, backbone: Backbone) -> BoxSource:
        """The same where this backbone makes the maps."""
        del backbone
        return self

    def of_images(self, images: Sequence[Path]) -> BoxSource:
        """What is needed for some of the images: this is what goes to another machine."""
        del images
        return self

    @abstractmethod
    def count(self, image: Path) -> int:
        """How many boxes an image has, before it is read."""

    @abstractmethod
    def of(self, image: Path, height: int, width: int) -> Sequence[Box]:
        """The boxes of an image of this size."""

    @abstractmethod
    def annotated(self, image: Path) -> Annotated | None:
        """What the boxes say about the size and the orientation of their image."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """What says which boxes these are, for the fingerprint."""


@dataclass(frozen=True)
class FileBoxes(BoxSource):
    """The boxes of a file, by the image that they belong to."""

    groups: Mapping[Path, Sequence[Box]]

    def of_images(self, images: Sequence[Path]) -> FileBoxes:
        return FileBoxes({image: self.groups[image] for image in images if image in self.groups})

    def count(self, image: Path) -> int:
        return len(self.groups.get(image, ()))

    def of(self, image: Path, height: int, width: int) -> Sequence[Box]:
        del height, width
        return self.groups.get(image, ())

    def annotated(self, image: Path) -> Annotated | None:
        return annotated_by(self.groups.get(image, ()))

    def facts(self) -> dict[str, object]:
        digest = hashlib.sha256()
        for image, boxes in self.groups.items():
            for box in boxes:
                digest.update(repr((str(image), box.row, box.corners, box.label)).encode())
        return {"boxes": sum(map(len, self.groups.values())), "sha256": digest.hexdigest()}


@dataclass(frozen=True)
class GridBoxes(BoxSource):
    """Every image cut into rows and columns of equal boxes, called by their row and column: ``0,0`` is the upper left.

    >>> [box.corners for box in GridBoxes(1, 2).of(Path("a.png"), 10, 20)]
    [(0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 20.0, 10.0)]
    """

    rows: int
    columns: int

    def count(self, image: Path) -> int:
        del image
        return self.rows * self.columns

    def of(self, image: Path, height: int, width: int) -> Sequence[Box]:
        boxes: list[Box] = []
        for row in range(self.rows):
            for column in range(self.columns):
                left, right = (width * edge / self.columns for edge in (column, column + 1))
                top, bottom = (height * edge / self.rows for edge in (row, row + 1))
                label = f"{row},{column}"
                boxes.append(Box(len(boxes), f"{image}: {label}", str(image), (left, top, right, bottom), label))
        return boxes

    def annotated(self, image: Path) -> Annotated | None:
        del image
        return None

    def facts(self) -> dict[str, object]:
        return {"grid": [self.rows, self.columns]}


@dataclass(frozen=True)
class DetectedBoxes(BoxSource):
    """What the detector whose backbone is run finds on the same maps; before it has run, no box is known."""

    score_threshold: float = 0.5
    """Detections of a lower score are left out."""
    most: int = 0
    """Of an image: the detector says it."""

    has_scores = True

    def of_backbone(self, backbone: Backbone) -> DetectedBoxes:
        """Raises BackboneError where it is not a detector's."""
        if not backbone.most_detections:
            raise BackboneError("boxes: the detections of a detector need the backbone detector:WEIGHTS")
        return replace(self, most=backbone.most_detections)

    def count(self, image: Path) -> int:
        del image
        return self.most

    def of(self, image: Path, height: int, width: int) -> Sequence[Box]:
        del image, height, width
        return ()

    def boxes(self, image: Path, found: Detections, scale: tuple[float, float]) -> Sequence[Box]:
        """Detections as boxes of the image; `scale` is its pixels per pixel that the detector saw, along x and y."""
        corners = (found.boxes * np.array(scale * 2)).tolist()
        return [
            Box(row, f"{image}: detection {row}", str(image), tuple(four), name, score=score)
            for row, (four, score, name) in enumerate(zip(corners, found.scores.tolist(), found.names, strict=True))
        ]

    def annotated(self, image: Path) -> Annotated | None:
        del image
        return None

    def facts(self) -> dict[str, object]:
        return {"detections": {"most": self.most, "score_threshold": self.score_threshold}}


def grid_of(text: str) -> GridBoxes | None:
    """``grid:3x4`` as a grid of 3 rows and 4 columns; None for anything else."""
    found = GRID.fullmatch(text)
    return GridBoxes(int(found[1]), int(found[2])) if found else None
