"""Reads the result of a job: feature vectors in blocks, and the regions to which they belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._text import counted, encodable
from .._typing import Array
from ..features.manifest import MANIFEST, OtherJobError, read_manifest
from ..features.writing import reading_shard
from ..files.problems import FileError
from . import shards

#: A position is the index of the shard times this, plus the row in the shard.
ROWS_PER_SHARD = 1 << 32


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
            If the folder contains no features, or not all shards of its job.

        Examples
        --------
        >>> from pathlib import Path
        >>> from roialign.search import FeatureFolder
        >>> FeatureFolder.open(Path("nowhere"))
        Traceback (most recent call last):
        roialign.files.problems.FileError: nowhere: no such folder
        """
        path = Path(path)
        if not path.is_dir():
            raise FileError(f"{path}: {'expected a folder, found a file' if path.exists() else 'no such folder'}")
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
            raise FileError(
                f"{path}: {len(names) - len(there)} of {counted(len(names), 'shard')} missing, the first is {missing}; "
                "rerun the command that started the job to finish it, or give --unfinished"
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

    def blocks(self, column: str | None = None) -> Iterator[Block]:
        """Yield the vectors of all regions in blocks. For maps ``[C, PH, PW]``, a vector is the mean over the bins.

        Rows of images that failed are left out.

        Raises
        ------
        FileError
            If a shard cannot be read or has another shape, or if a feature is not finite.
        """
        name = self.column(column)
        shape = self.columns[name]
        for number, file in enumerate(self.files):
            self._check_place(file)
            stream = shards.blocks(self.path / file, name)
            while True:
                with reading_shard(self.path / file):
                    rows, values = next(stream, (None, None))
                    if rows is None or values is None:
                        break
                    numbers = int(np.prod(values.shape[1:]))
                    if numbers != np.prod(shape):
                        raise ValueError(f"column {name}: expected {list(shape)} numbers per row, got {numbers}")
                    values = values.reshape(len(values), *shape)
                vectors = as_vectors(values)
                self._check_finite(file, rows, vectors)
                yield Block(number * ROWS_PER_SHARD + rows, vectors)

    def _check_place(self, file: str) -> None:
        """Check that a shard begins with the image that the manifest says, and so was not renamed or copied here."""
        if "detections" in self.manifest.get("fingerprint", {}).get("boxes", {}):
            return  # an image in which nothing is found has no row
        (expected,) = [shard.get("first") for shard in self.manifest["shards"] if shard["file"] == file]
        with reading_shard(self.path / file):
            found = shards.first_image(self.path / file)
            if expected is not None and found != encodable(expected):
                raise ValueError(f"it begins with {found}, and the shard of this job with {encodable(expected)}")

    def _check_finite(self, file: str, rows: Array, vectors: Array) -> None:
        if not np.isfinite(vectors.sum()):
            wrong = rows[~np.isfinite(vectors).all(axis=1)]
            if len(wrong):
                raise FileError(
                    f"{self.path / file}: row {wrong[0]} has features that are not finite, probably because they are "
                    "too large for float16; extract them in float32"
                )

    def regions(self, positions: Sequence[int]) -> list[Region]:
        """Return the regions at some positions of the folder, in the order of the positions.

        Raises
        ------
        ValueError
            If there is no region at a position.
        """
        found: dict[int, Region] = {}
        by_shard: dict[int, list[int]] = {}
        for position in dict.fromkeys(map(int, positions)):
            number, row = divmod(position, ROWS_PER_SHARD)
            if not 0 <= number < len(self.files):
                raise ValueError(f"positions: {self.path} has no region at {position}")
            by_shard.setdefault(number, []).append(row)
        for number, rows in by_shard.items():
            path = self.path / self.files[number]
            with reading_shard(path):
                try:
                    entries = shards.texts(path, rows)
                except IndexError:
                    entries = []
            if not entries:
                raise ValueError(f"positions: {path} has fewer than {max(rows) + 1} rows")
            for row, one in zip(rows, entries, strict=True):
                found[number * ROWS_PER_SHARD + row] = Region(**one)
        return [found[int(position)] for position in positions]

    def positions_of_image(self, *images: str | Path) -> Array:
        """Return the positions of the regions of an image, given all paths by which it may be named."""
        names = [encodable(Path(image).as_posix()) for image in images]
        found = [np.zeros(0, dtype=np.int64)]
        for number, file in enumerate(self.files):
            with reading_shard(self.path / file):
                found.append(number * ROWS_PER_SHARD + shards.rows_of_image(self.path / file, names))
        return np.concatenate(found)


def as_vectors(values: Array) -> Array:
    """Convert features ``[K, C]`` or ``[K, C, PH, PW]`` to float32 vectors ``[K, C]``, with the mean over the bins."""
    values = values.astype(np.float32, copy=False)
    vectors: Array = values if values.ndim == 2 else values.mean(axis=(2, 3), dtype=np.float32)
    return vectors
