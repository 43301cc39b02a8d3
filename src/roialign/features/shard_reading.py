"""Reads shards, and checks that they are undamaged and belong to the job."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .._typing import Array
from ..files.problems import FileError
from .manifest import MANIFEST
from .records import CHECKSUMS, KEYS, NUMBER, Checksum, Origin, Texts, checksum_of, differences_from
from .shard_files import FILES, ShardFile
from .writing import NO_ROW


@contextmanager
def open_shard(path: Path, origin: Origin | None = None, *, required: bool = False) -> Iterator[ShardReader]:
    """Open a shard, and check its record. Errors in the block that uses it are errors in the shard.

    Parameters
    ----------
    path : Path
        The file of the shard.
    origin : Origin, optional
        The job and the number that the shard must have. By default, any.
    required : bool, default False
        Whether a shard without a record, as earlier versions wrote them, is an error.

    Raises
    ------
    FileError
        If the file is damaged, or if it is the shard of another job, or another shard. The message names the file and
        says what to do.
    OSError
        If the system does not read it, for example because the user may not.
    """
    path.open("rb").close()  # the libraries do not all raise the error of the system
    try:
        with ExitStack() as closing:
            file = FILES[path.suffix](path, closing)
            checksums = _checksums(path, file, required=required)
            if checksums is not None and origin is not None:
                _check_origin(path, file.metadata, origin)
            yield ShardReader(file, checksums)
    except (FileError, ModuleNotFoundError):
        raise
    except MemoryError as error:
        raise FileError(f"{path}: cannot be read: not enough memory") from error
    except Exception as error:  # damaged files raise many kinds of errors
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a damaged file has wrong positions
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        why = f"no entry {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        why = why.rstrip(" .") or type(error).__name__
        raise FileError(f"{path}: cannot be read: {why}; delete it, and rerun the command that wrote it") from error


def of_other_job(path: Path, differences: str) -> FileError:
    """Return the error of a shard that belongs to another job than the manifest beside it says.

    Either may be the one that is out of place, so that nothing is to be deleted before the manifest is right.
    """
    return FileError(
        f"{path}: belongs to another job than {MANIFEST}: {differences}; if the shards are right, put back their "
        f"{MANIFEST}; if not, delete this shard, and rerun the command that started this job"
    )


def _check_origin(path: Path, record: Mapping[str, Any], origin: Origin) -> None:
    """Check that a shard has the record of this job and of this number."""
    differences = differences_from(record, origin)
    if differences:
        raise of_other_job(path, differences)
    if record[NUMBER] != origin.number:
        raise FileError(
            f"{path}: is another shard of this job: expected shard {origin.number}, found shard {record[NUMBER]}; "
            "delete it, and rerun the command that started this job"
        )


def _checksums(path: Path, file: ShardFile, *, required: bool) -> Mapping[str, str] | None:
    """Return the checksums of the columns; None if the shard has no record."""
    there = [key for key in KEYS if key in file.metadata]
    if not there and not required:
        return None
    if not there:
        raise of_other_job(path, f"expected {', '.join(KEYS)} in its metadata, found none of them")
    if len(there) < len(KEYS):
        raise ValueError(f"expected {', '.join(KEYS)} in its metadata, found {', '.join(there)}")
    checksums: Mapping[str, str] = file.metadata[CHECKSUMS]
    if not set(checksums) <= set(file.columns):  # a user may have added others
        raise ValueError(f"expected the columns {', '.join(checksums)}, found {', '.join(file.columns)}")
    return checksums


class ShardReader:
    """The columns of an open shard. Every column that is read is compared with its checksum, if there is one."""

    def __init__(self, file: ShardFile, checksums: Mapping[str, str] | None) -> None:
        self._file, self._checksums = file, checksums

    @property
    def has_record(self) -> bool:
        """Whether the shard has a record. Those of earlier versions have none."""
        return self._checksums is not None

    @property
    def columns(self) -> list[str]:
        """The names of the columns; if there is a record, of those in it."""
        return self._file.columns if self._checksums is None else list(self._checksums)

    def texts(self, name: str) -> Texts:
        """Return the column image, label or error. Rows without an error have an empty one."""
        column = self._file.texts(name)
        self._verify(name, lambda: checksum_of(column))
        return column

    def numbers(self, name: str) -> Array:
        """Return the column row, box, score or image_size. Images that failed have the row -1, and zeros."""
        column = self._file.numbers(name)
        self._verify(name, lambda: checksum_of(column))
        return column

    @cached_property
    def good(self) -> Array:
        """Bool ``[K]``: which rows have no error."""
        good: Array = self.numbers("row") != NO_ROW
        return good

    def blocks(self, name: str) -> Iterator[tuple[Array, Array]]:
        """Yield the rows without an error, int64 ``[K]``, and their features ``[K, N]``, in blocks.

        The checksum is compared after the last block.
        """
        checksum, first = Checksum(), 0
        for length, values in self._file.features(name, self.good):
            rows = first + np.flatnonzero(self.good[first : first + length])
            first += length
            if len(rows) != len(values):
                raise ValueError(f"column {name}: expected {len(rows)} rows without an error, found {len(values)}")
            checksum.add(values)
            yield rows, values
        if first != len(self.good):
            raise ValueError(f"column {name}: expected {len(self.good)} rows, found {first}")
        self._verify(name, lambda: str(checksum))

    def errors(self) -> list[tuple[str, str]]:
        """Return the images that failed, with their errors."""
        rows = np.flatnonzero(~self.good)
        images, errors = self.texts("image"), self.texts("error")
        return list(zip(images.at(rows), errors.at(rows), strict=True))

    def partly_failed(self) -> set[str]:
        """Return the images that failed, but have features of some of their boxes."""
        failed = {image for image, _ in self.errors()}
        return failed & set(self.texts("image").at(np.flatnonzero(self.good))) if failed else failed

    def _verify(self, name: str, checksum: Callable[[], str]) -> None:
        if self._checksums is None:
            return
        expected, found = self._checksums[name], checksum()
        if found != expected:
            raise ValueError(f"column {name}: expected the CRC-32 {expected}, found {found}: it is damaged")
