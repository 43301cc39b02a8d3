"""Reads feature maps from NumPy files, in either layout, with or without a batch axis."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from .._array_checks import SUPPORTED_DTYPES
from .._typing import Array
from .archives import LARGEST_UNPACKED, check_unpacked
from .kinds import HEAD_BYTES, OLDER_TORCH, check_readable, what_is
from .problems import FileError

#: The types of the operators that NumPy's files can hold.
DTYPES = tuple(name for name in SUPPORTED_DTYPES if name != "bfloat16")
#: The type that NumPy's files have instead of bfloat16, and what to do about it.
UNNAMED = np.dtype("V2")
BFLOAT16_HINT = "; if it was bfloat16, which NumPy's files cannot hold, save it as float32"
FROM_TORCH = "a PyTorch file: write the map with numpy.save('map.npy', tensor.numpy())"
#: The header readers by format version. Versions 2 and 3 differ only in the characters allowed in field names.
HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


def read_feature_map(path: Path, layout: str, array_name: str | None) -> Array:
    """Read a feature map from a ``.npy`` or ``.npz`` file, in any byte order, as a view ``[1, C, H, W]``.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    array = _read_array(path, array_name)
    found = list(array.shape)
    axes = "C, H, W" if layout == "NCHW" else "H, W, C"
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[0] != 1 or 0 in array.shape:
        raise FileError(f"expected a feature map [{axes}] or [1, {axes}], found shape {found}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.name not in DTYPES:
        hint = BFLOAT16_HINT if array.dtype == UNNAMED else ""
        raise FileError(f"expected dtype {', '.join(DTYPES)}, got {array.dtype}{hint}")
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def _read_array(path: Path, name: str | None) -> Array:
    check_readable(path)
    try:
        with path.open("rb") as file:  # NumPy does not close a file that it opened if it is not an archive
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                file.seek(0)
                _check_header(file)
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else _array_of_archive(loaded, name)
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(f"not enough memory{f': {error}' if str(error) else ''}") from error
    except OSError as error:
        raise FileError(error.strerror or f"damaged or cut short: {error}") from error
    except Exception as error:  # damaged files raise many kinds of errors in NumPy and zipfile
        raise FileError(f"cannot be read as a NumPy array: {_reason(path, error)}") from error


def _reason(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        known = what_is(head)
        pickled = head.startswith(b"\x80") or "Object arrays" in str(error)
    if head.startswith(OLDER_TORCH):
        return f"it is {FROM_TORCH}"
    if pickled:
        return "it holds Python objects, and reading them would run code from the file; save an array of floats"
    if known not in (None, "a NumPy array", "a zip archive"):
        return f"it is {known}"
    return "damaged, cut short, or not saved by NumPy"


def _check_header(file: IO[bytes]) -> None:
    """Check the size that a header gives. NumPy allocates the memory before it reads the values.

    Raises
    ------
    FileError
        If the array is larger than `LARGEST_UNPACKED`.
    """
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        return  # read_array raises the error
    shape, _, dtype = HEADERS[version](file)
    size = math.prod(map(int, shape)) * dtype.itemsize
    if size > LARGEST_UNPACKED:
        raise FileError(f"expected at most {LARGEST_UNPACKED >> 30} GiB, found {list(shape)} of {dtype}")


def _array_of_archive(archive: np.lib.npyio.NpzFile, name: str | None) -> Array:
    """Return the array called `name`, or the only array."""
    names = list(archive)
    chosen = names[0] if name is None and len(names) == 1 else name
    if chosen in names:
        _check_member(archive, str(chosen))
        array = archive[str(chosen)]
        if not isinstance(array, np.ndarray):  # NumPy returns other members as bytes
            raise FileError(f"expected an array, found {chosen!r}, which is not an array")
        return array
    if any(PurePosixPath(member).name == "data.pkl" for member in names):
        raise FileError(f"expected a NumPy array, found {FROM_TORCH}")
    expected = "one array" if name is None else f"an array {name!r}"
    more = "; choose one with --array" if name is None and names else ""
    raise FileError(f"expected {expected}, found {', '.join(names) or 'none'}{more}")


def _check_member(archive: np.lib.npyio.NpzFile, name: str) -> None:
    """Check the sizes that the archive and the header of the array give."""
    members = archive.zip
    assert members is not None  # it is open
    member = f"{name}.npy" if f"{name}.npy" in members.namelist() else name
    check_unpacked(members.getinfo(member).file_size)
    with members.open(member) as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            return
    with members.open(member) as file:
        _check_header(file)
