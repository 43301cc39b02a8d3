"""The sources of the boxes of an image: a file, a grid, or a detector."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import _validate
from ..files.boxes import Box, annotated_by
from ..files.orientation import Annotated
from .backbone import Backbone, BackboneError, Detections

#: The value of `--boxes` for the boxes that a detector finds.
DETECTIONS = "detections"
#: The value of `--boxes` for a grid, how to write it, and the largest number of boxes.
GRID, GRID_FORM, MOST_CELLS = re.compile(r"grid:([1-9]\d{0,6})x([1-9]\d{0,6})"), "grid:ROWSxCOLUMNS", 1_000_000


class BoxSource(ABC):
    """Provides the boxes of every image."""

    has_scores: bool = False
    """Whether the boxes have scores. If so, the result has a score column."""
    can_be_mistaken: bool = True
    """Whether the boxes come from outside, so that suspicious ones are reported. Computed boxes are right."""

    def of_backbone(self, backbone: Backbone) -> BoxSource:
        """Return the source to use with this backbone."""
        del backbone
        return self

    def of_images(self, images: Sequence[Path]) -> BoxSource:
        """Return a source for some of the images only, to send it to another machine."""
        del images
        return self

    @abstractmethod
    def count(self, image: Path) -> int:
        """Return the number of boxes of an image, or an upper bound, without reading the image."""

    @abstractmethod
    def of(self, image: Path, height: int, width: int) -> Sequence[Box]:
        """Return the boxes of an image of this size."""

    @abstractmethod
    def annotated(self, image: Path) -> Annotated | None:
        """Return what the annotations say about the size and the orientation of an image."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """Return values that identify the boxes, for the fingerprint of a job."""


@dataclass(frozen=True)
class FileBoxes(BoxSource):
    """The boxes of a file, grouped by image.

    Examples
    --------
    >>> from pathlib import Path
    >>> from roialign.features import FileBoxes
    >>> from roialign.files.boxes import Box
    >>> box = Box(row=0, where="boxes.csv: row 0", image="a.png", corners=(10.0, 20.0, 30.0, 40.0), label="cat")
    >>> boxes = FileBoxes({Path("a.png"): [box]})
    >>> boxes.count(Path("a.png")), boxes.count(Path("b.png"))
    (1, 0)
    """

    groups: Mapping[Path, Sequence[Box]]
    """The boxes of each image, by its path as given to :func:`prepare`. Images without boxes are left out."""

    def __post_init__(self) -> None:
        for image, boxes in self.groups.items():
            if not isinstance(image, Path):  # the boxes of a string would not be found
                raise TypeError(f"groups: expected a Path for each image, got {image!r}")
            if boxes and not isinstance(boxes[0], Box):
                raise TypeError(f"groups: expected Box objects for {image}, got {boxes[0]!r}")

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
                size = () if box.image_size is None else (box.image_size,)  # as in folders of earlier versions
                digest.update(repr((str(image), box.row, box.corners, box.label, *size)).encode())
        return {"boxes": sum(map(len, self.groups.values())), "sha256": digest.hexdigest()}


@dataclass(frozen=True)
class GridBoxes(BoxSource):
    """Divides every image into a grid of equal boxes, labelled by row and column. ``0,0`` is the upper left box.

    >>> from pathlib import Path
    >>> from roialign.features import GridBoxes
    >>> [box.corners for box in GridBoxes(1, 2).of(Path("a.png"), 10, 20)]
    [(0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 20.0, 10.0)]
    """

    rows: int
    columns: int

    can_be_mistaken = False

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            _validate.set_checked(self, **{name: _validate.check_int(getattr(self, name), name, 1)})

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
    """The detections of the detector to which the backbone belongs, found on the same maps."""

    score_threshold: float = 0.5
    """Detections with a lower score are left out."""
    most: int = 0
    """The largest number of detections in an image, given by the detector."""

    has_scores = True
    can_be_mistaken = False

    def __post_init__(self) -> None:
        threshold = _validate.check_number(self.score_threshold, "score_threshold")
        if not 0 <= threshold <= 1:
            raise ValueError(f"score_threshold: expected a number from 0 to 1, got {self.score_threshold!r}")

    def of_backbone(self, backbone: Backbone) -> DetectedBoxes:
        """Raises BackboneError if the backbone does not belong to a detector."""
        if not backbone.most_detections:
            raise BackboneError.of("detector:WEIGHTS, to use its detections as boxes", "a backbone without a detector")
        return replace(self, most=backbone.most_detections)

    def count(self, image: Path) -> int:
        del image
        return self.most

    def of(self, image: Path, height: int, width: int) -> Sequence[Box]:
        del image, height, width
        return ()

    def boxes(self, image: Path, found: Detections, scale: tuple[float, float]) -> Sequence[Box]:
        """Convert detections to boxes of the image. `scale` is image pixels per resized pixel, along x and y."""
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
    """Parse ``grid:3x4``, a grid of 3 rows and 4 columns. Return None for anything else, or for too many boxes."""
    found = GRID.fullmatch(text)
    rows, columns = (int(found[1]), int(found[2])) if found else (0, 0)
    return GridBoxes(rows, columns) if 0 < rows * columns <= MOST_CELLS else None
