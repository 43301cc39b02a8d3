"""Writes results atomically: a file has either its old content or the complete new content, never a part."""

from __future__ import annotations

import io
import json
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._typing import Array


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


def write_arrays(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write `arrays` in the format of ``numpy.savez``. Equal arrays give equal bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        add_arrays(archive, arrays)


def add_arrays(archive: zipfile.ZipFile, arrays: Mapping[str, Array]) -> None:
    """Add `arrays` to an archive, each as an ``.npy`` file."""
    for name, array in arrays.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def text_array(texts: Sequence[str]) -> Array:
    """Convert texts to a NumPy array that is stored without pickle, also if it is empty."""
    return np.array(list(texts), dtype=np.str_) if texts else np.zeros(0, dtype="<U1")


def json_array(settings: Mapping[str, object]) -> Array:
    """Store settings as JSON text. Read them with ``json.loads(str(result["settings"]))``."""
    return np.array(json.dumps(settings))
