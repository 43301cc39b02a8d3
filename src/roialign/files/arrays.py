"""Reads feature maps: arrays of NumPy's files, of either layout and rank."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..numpy.checks import check_float_dtype
from .archives import LARGEST_UNPACKED, check_unpacked
from .kinds import HEAD_BYTES, check_readable, what_is
from .problems import FileError

Array = np.ndarray[Any, np.dtype[Any]]
#: By version of the format; the third differs from the second in the letters that names may have.
HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


def read_feature_map(path: Path, layout: str, array_name: str | None) -> Array:
    """A feature map of a ``.npy`` or ``.npz`` file, seen as ``[1, C, H, W]``.

    Raises
    ------
    FileError
        Saying why it cannot be read.
    """
    array = _read_array(path, array_name)
    found = list(array.shape)
    axes = "C, H, W" if layout == "NCHW" else "H, W, C"
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[0] != 1 or 0 in array.shape:
        raise FileError(f"expected a feature map [{axes}] or [1, {axes}], found shape {found}")
    try:
        check_float_dtype(array, "feature map")
    except TypeError as error:
        raise FileError(str(error)) from error
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def _read_array(path: Path, name: str | None) -> Array:
    check_readable(path)
    try:
        with path.open("rb") as file:  # NumPy leaves a file that it opened open where it is no archive
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
    except Exception as error:  # the bytes of a file lead NumPy's and the archive's readers anywhere
        raise FileError(f"cannot be read as NumPy's array: {_why(path, error)}") from error


def _why(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        known = what_is(head)
        pickled = head.startswith(b"\x80") or "Object arrays" in str(error)
    if pickled:
        return "it holds Python objects, which only running its code could read; save an array of floats"
    if known not in (None, "a NumPy array", "a zip archive"):
        return f"it is {known}"
    return "damaged, cut short, or not saved by NumPy"


def _check_header(file: IO[bytes]) -> None:
    """That the array which a header promises is not larger than any feature map: its memory is taken before it is read.

    Raises
    ------
    FileError
        Where it is.
    """
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        return  # read_array says what is wrong with it
    shape, _, dtype = HEADERS[version](file)
    size = math.prod(map(int, shape)) * dtype.itemsize
    if size > LARGEST_UNPACKED:
        raise FileError(f"expected at most {LARGEST_UNPACKED >> 30} GiB, found {list(shape)} of {dtype}")


def _array_of_archive(archive: np.lib.npyio.NpzFile, name: str | None) -> Array:
    """The array of that name, or the only one."""
    names = list(archive)
    chosen = names[0] if name is None and len(names) == 1 else name
    if chosen in names:
        _check_member(archive, str(chosen))
        array = archive[str(chosen)]
        if not isinstance(array, np.ndarray):  # NumPy gives what is no array as it is
            raise FileError(f"expected an array, found {chosen!r}, which is none")
        return array
    expected = "one array" if name is None else f"an array {name!r}"
    more = "; name one of them" if name is None and names else ""
    raise FileError(f"expected {expected}, found {', '.join(names) or 'none'}{more}")


def _check_member(archive: np.lib.npyio.NpzFile, name: str) -> None:
    """That what a member promises, of its size and in its header, can be an array."""
    members = archive.zip
    assert members is not None  # it is open
    member = f"{name}.npy" if f"{name}.npy" in members.namelist() else name
    check_unpacked(members.getinfo(member).file_size)
    with members.open(member) as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            return
    with members.open(member) as file:
        _check_header(file)
