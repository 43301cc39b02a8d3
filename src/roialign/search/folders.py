"""Reads the result of a job: feature vectors in blocks, and the regions to which they belong."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import _validate
from .._text import counted, encodable
from .._typing import Array
from ..features.manifest import MANIFEST, OtherJobError, read_manifest
from ..features.manifest_checks import VERSION
from ..features.records import Origin
from ..features.shard_reading import ShardReader, of_other_job, open_shard
from ..features.writing import NO_ROW
from ..files.kinds import check_is_folder
from ..files.problems import FileError

#: A position is the index of the shard times this, plus the row in the shard.
ROWS_PER_SHARD = 1 << 32


class UnfinishedError(FileError):
    """Shards of a job are missing. The message says which is the first."""


class Block(NamedTuple):
    """Consecutive regions of a folder."""

    positions: Array
    """Int64 ``[K]``: the positions in the folder; see :meth:`FeatureFolder.regions`."""
    vectors: Array
    """Float32 ``[K, C]``."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region of an image: a row of a result."""

    image: str
    """The path as given when the features were computed."""
    row: int
    """The index of the box in its file."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the image."""
    label: str
    image_size: tuple[int, int]
    """Width and height in pixels."""
    score: float | None = None
    """The score of a detection."""


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of region features; see :meth:`open`."""

    path: Path
    manifest: dict[str, Any]
    files: tuple[str, ...]
    """The existing shards, in order."""

    @classmethod
    def open(cls, path: str | Path, *, unfinished: bool = False) -> FeatureFolder:
        """Open the result of `roialign extract --backbone` or of :func:`roialign.features.run`.

        Parameters
        ----------
        path : str or Path
            The folder.
        unfinished : bool, default False
            Whether to accept a job of which shards are missing.

        Returns
        -------
        FeatureFolder

        Raises
        ------
        FileError
            If the folder contains no features.
        UnfinishedError
            If shards of the job are missing, and not `unfinished`. It is a FileError.

        Examples
        --------
        >>> from pathlib import Path
        >>> from roialign.search import FeatureFolder
        >>> FeatureFolder.open(Path("nowhere"))
        Traceback (most recent call last):
        roialign.files.problems.FileError: nowhere: no such folder
        """
        path = _validate.check_path(path, "path")
        check_is_folder(path)
        try:
            manifest = read_manifest(path)
        except OtherJobError as error:
            raise FileError(str(error)) from error
        if manifest is None:
            expected = "expected a folder written by roialign extract --backbone"
            raise FileError(f"{path}: contains no features: there is no {MANIFEST}; {expected}")
        names = [str(shard["file"]) for shard in manifest["shards"]]
        there = [name for name in names if (path / name).is_file()]
        if len(there) < len(names) and not unfinished:
            missing = next(name for name in names if name not in there)
            raise UnfinishedError(
                f"{path}: {len(names) - len(there)} of {counted(len(names), 'shard')} missing, the first is {missing}; "
                "rerun the command that started the job to finish it"
            )
        if not there:
            raise FileError(f"{path}: no shard has been written yet")
        return cls(path, manifest, tuple(there))

    @property
    def columns(self) -> dict[str, tuple[int, ...]]:
        """The shape of a row of each feature column, by name."""
        return {name: tuple(shape) for name, shape in self.manifest["columns"].items()}

    def column(self, name: str | None = None) -> str:
        """Return the name of a feature column. The default is `vector`, or else the first column.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        names = list(self.columns)
        if name is None:
            return "vector" if "vector" in names else names[0]
        if name not in names:
            raise ValueError(f"column: expected one of {', '.join(names)}, got {name!r}")
        return name

    def channels(self, column: str | None = None) -> int:
        """Return the length of the vectors of a feature column. The default is as for :meth:`column`."""
        return self.columns[self.column(column)][0]

    def blocks(self, column: str | None = None) -> Iterator[Block]:
        """Yield the vectors of all regions in blocks. For maps ``[C, PH, PW]``, a vector is the mean over the bins.

        Rows of images that failed are left out. The checksum of a shard is compared after its last block.

        Raises
        ------
        FileError
            If a shard is damaged, belongs to another job, or has another shape, or if a feature is not finite.
        """
        name = self.column(column)
        shape = self.columns[name]
        for number, file in enumerate(self.files):
            with self._opened(file) as shard:
                if not shard.has_record:
                    self._check_first(file, shard)
                wrong = None
                for rows, values in shard.blocks(name):
                    numbers = values.shape[1]
                    if numbers != np.prod(shape):
                        difference = f"column {name}: expected {list(shape)} numbers per row, found {numbers}"
                        raise of_other_job(self.path / file, difference)
                    vectors = as_vectors(values.reshape(len(values), *shape))
                    wrong = wrong or self._not_finite(file, rows, vectors)
                    if wrong is None:
                        yield Block(number * ROWS_PER_SHARD + rows, vectors)
                if wrong is not None:  # and the shard is not damaged
                    raise wrong

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The number of each shard of the job."""
        return {shard["file"]: number for number, shard in enumerate(self.manifest["shards"])}

    def _opened(self, file: str) -> AbstractContextManager[ShardReader]:
        """Open a shard, and check that it is that of the job."""
        origin = Origin(self.manifest["fingerprint"], self._numbers[file])
        return open_shard(self.path / file, origin, required=self.manifest["version"] == VERSION)

    def _check_first(self, file: str, shard: ShardReader) -> None:
        """Check that a shard without a record begins with the image that the manifest says."""
        if "detections" in self.manifest["fingerprint"].get("boxes", {}):
            return  # an image in which nothing is found has no row
        expected = self.manifest["shards"][self._numbers[file]].get("first")
        (found,) = shard.texts("image").at([0])
        if expected is not None and found != encodable(expected):
            difference = f"first image: expected {encodable(expected)}, found {found}"
            raise of_other_job(self.path / file, difference)

    def _not_finite(self, file: str, rows: Array, vectors: Array) -> FileError | None:
        """Return an error if a vector is not finite."""
        if np.isfinite(vectors.sum()):
            return None
        wrong = rows[~np.isfinite(vectors).all(axis=1)]
        if not len(wrong):
            return None
        return FileError(
            f"{self.path / file}: row {wrong[0]} has features that are not finite, probably because they are too large "
            "for float16; extract them in float32"
        )

    def regions(self, positions: Sequence[int]) -> list[Region]:
        """Return the regions at some positions of the folder, in the order of the positions.

        Raises
        ------
        TypeError
            If a position is not an int.
        ValueError
            If there is no region at a position.
        FileError
            If a shard is damaged, or belongs to another job.
        """
        try:
            numbers = [operator.index(position) for position in positions]
        except TypeError:
            raise TypeError(f"positions: expected ints, got {positions!r}") from None
        found: dict[int, Region] = {}
        by_shard: dict[int, list[int]] = {}
        for position in dict.fromkeys(numbers):
            number, row = divmod(position, ROWS_PER_SHARD)
            if not 0 <= number < len(self.files):
                raise ValueError(f"positions: {self.path} has no region at {position}")
            by_shard.setdefault(number, []).append(row)
        for number, rows in by_shard.items():
            with self._opened(self.files[number]) as shard:
                count = len(shard.good)
                regions = _regions_of(shard, rows) if max(rows) < count else []
            if not regions:
                raise ValueError(f"positions: {self.path / self.files[number]} has fewer than {max(rows) + 1} rows")
            for row, region in zip(rows, regions, strict=True):
                if region.row == NO_ROW:
                    raise ValueError(
                        f"positions: row {row} of {self.path / self.files[number]} has no box, but an error"
                    )
                found[number * ROWS_PER_SHARD + row] = region
        return [found[position] for position in numbers]

    def positions_of_image(self, *images: str | Path) -> Array:
        """Return the positions of the regions of an image, given all paths by which it may be named."""
        names = [encodable(_validate.check_path(image, "images").as_posix()) for image in images]
        found = [np.zeros(0, dtype=np.int64)]
        for number, file in enumerate(self.files):
            with self._opened(file) as shard:
                column = shard.texts("image")
                places = [place for place, image in enumerate(column.distinct) if image in names]
                found.append(number * ROWS_PER_SHARD + np.flatnonzero(np.isin(column.places, places)))
        return np.concatenate(found)


def _regions_of(shard: ShardReader, rows: Sequence[int]) -> list[Region]:
    """Return the regions in some rows of a shard."""
    images, labels = (shard.texts(name).at(rows) for name in ("image", "label"))
    numbers, boxes, sizes = (shard.numbers(name)[rows].tolist() for name in ("row", "box", "image_size"))
    scores = shard.numbers("score")[rows].tolist() if "score" in shard.columns else [None] * len(rows)
    every = zip(images, numbers, map(tuple, boxes), labels, map(tuple, sizes), scores, strict=True)
    return [Region(*one) for one in every]


def as_vectors(values: Array) -> Array:
    """Convert features ``[K, C]`` or ``[K, C, PH, PW]`` to float32 vectors ``[K, C]``, with the mean over the bins."""
    values = values.astype(np.float32, copy=False)
    vectors: Array = values if values.ndim == 2 else values.mean(axis=(2, 3), dtype=np.float32)
    return vectors
