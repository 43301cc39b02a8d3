"""Writes results atomically: a file has either its old content or the complete new content, never a part."""

from __future__ import annotations

import io
import json
import os
import secrets
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._typing import Array

#: The approximate number of bytes of the pieces in which features are copied into the result.
PIECE_BYTES = 1 << 24


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` once it is complete and on the disk.

    If an error occurs before that, `path` is unchanged and the temporary file is removed. An `OSError` names `path`.
    It also replaces the error of a library that reports a failed write in other words, as `torch.save` does.
    """
    target = Path(os.path.realpath(path))  # a link stays a link to the new content
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with naming(path, temporary):
        raw: _Recording | None = None
        try:
            raw = _Recording(str(temporary), "xb")
            with io.BufferedWriter(raw) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except Exception as error:
            if raw is None or raw.failure is None or error is raw.failure:
                raise
            raise raw.failure from error
        finally:
            temporary.unlink(missing_ok=True)  # it only exists after an error
        _sync_folder(target.parent)


class _Recording(io.FileIO):
    """A file that remembers the error of a write, such as that of a full disk."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Name `path` in an error of writing that names no file, such as that of a full disk, or the temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def not_written(error: OSError) -> str:
    """Return the message that a file cannot be written, and why."""
    return f"cannot be written: {error.strerror or error}"


def _sync_folder(folder: Path) -> None:
    """Write the new file name to the disk, if the operating system supports it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FeatureStore:
    """Stores the features of one input after another in a temporary file without a name, until they are written."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self.count = 0

    def append(self, features: Array) -> None:
        """Append the rows of an input."""
        self._file.write(np.ascontiguousarray(features).tobytes())
        self.count += len(features)

    def close(self) -> None:
        self._file.close()

    def pieces(self, row_bytes: int, order: Array) -> Iterator[bytes]:
        """Yield the rows in the given order, several at a time."""
        self._file.flush()
        rows_per_piece = max(PIECE_BYTES // max(row_bytes, 1), 1)
        for first in range(0, len(order), rows_per_piece):
            yield b"".join(self._row(int(row), row_bytes) for row in order[first : first + rows_per_piece])

    def _row(self, row: int, row_bytes: int) -> bytes:
        self._file.seek(row * row_bytes)
        return self._file.read(row_bytes)


def write_npz(
    file: IO[bytes],
    arrays: Mapping[str, Array],
    store: FeatureStore,
    order: Array,
    row_shape: Sequence[int],
    dtype: np.dtype[Any],
) -> None:
    """Write `arrays`, and the rows of `store` in the given order as ``features``, in the format of ``numpy.savez``."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _add_arrays(archive, arrays)
        with archive.open("features.npy", "w", force_zip64=True) as member:
            shape = (len(order), *row_shape)
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for piece in store.pieces(int(np.prod(row_shape)) * dtype.itemsize, order):
                member.write(piece)


def write_arrays(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write `arrays` in the format of ``numpy.savez``. Equal arrays give equal bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _add_arrays(archive, arrays)


def _add_arrays(archive: zipfile.ZipFile, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def text_array(texts: Sequence[str]) -> Array:
    """Convert texts to a NumPy array that is stored without pickle, also if it is empty."""
    return np.array(list(texts), dtype=np.str_) if texts else np.zeros(0, dtype="<U1")


def json_array(settings: Mapping[str, object]) -> Array:
    """Store settings as JSON text. Read them with ``json.loads(str(result["settings"]))``."""
    return np.array(json.dumps(settings))
