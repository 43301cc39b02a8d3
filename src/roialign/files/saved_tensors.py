"""Reads files of `torch.save` as NumPy arrays, without PyTorch and without running code from the file."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np

from .._typing import Array
from .archives import check_archive
from .kinds import check_readable
from .problems import FileError

#: The NumPy data types of PyTorch's storages. NumPy has no bfloat16.
STORAGES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
#: The number at the start of files that PyTorch wrote before it used zip archives.
MAGIC = 0x1950A86A20F9469CFC6C


class _Storage(NamedTuple):
    """A storage, of which tensors are views. Its values follow the pickle that refers to it."""

    key: str
    dtype: np.dtype[Any]


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, numbers: Array) -> Array:
        """Return a copy of the tensor, after checking that it lies within the storage."""
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        within = min((self.offset, *self.shape, *self.strides)) >= 0 and last < len(numbers)
        if 0 not in self.shape and not within:
            raise FileError(f"a tensor reaches beyond its {len(numbers)} numbers: damaged")
        steps = [step * numbers.itemsize for step in self.strides]
        copied: Array = np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps).copy()
        return copied


class _Unpickler(pickle.Unpickler):
    """Creates tensors, storages and ordered dictionaries only. Anything else is an error."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, tuple(shape), tuple(strides))
        if module == "torch" and name in STORAGES:
            return name
        raise FileError(f"expected tensors only, found {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key = pid[:3]
        if kind != "storage" or storage not in STORAGES:
            raise FileError("expected tensors only, found an object of another kind")
        return _Storage(str(key), STORAGES[storage])


def read_saved_tensors(path: Path) -> dict[str, Array]:
    """Read the tensors of a state dict by name, in the order of the file.

    Both formats of `torch.save` are supported: zip archives and the older format.

    Raises
    ------
    FileError
        If the file is not a state dict of tensors.
    """
    check_readable(path)
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
        with path.open("rb") as file:
            content, numbers_of = _read_archive(file) if zipfile.is_zipfile(file) else _read_stream(file)
            if not isinstance(content, Mapping):
                raise FileError(f"expected a dictionary of tensors, found {type(content).__name__}")
            tensors = {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}
            return {name: tensor.view(numbers_of(tensor.storage)) for name, tensor in tensors.items()}
    except FileError as error:
        raise FileError(f"cannot be read as PyTorch weights: {error}") from error
    except Exception as error:  # damaged files raise many kinds of errors when unpickled
        why = str(error) or type(error).__name__
        raise FileError(f"cannot be read as PyTorch weights: damaged, or another kind of file: {why}") from error


def _read_archive(file: IO[bytes]) -> tuple[Any, Callable[[_Storage], Array]]:
    archive = zipfile.ZipFile(file)
    pickled = next(name for name in archive.namelist() if PurePosixPath(name).name == "data.pkl")
    folder = PurePosixPath(pickled).parent
    content = _Unpickler(io.BytesIO(archive.read(pickled))).load()
    return content, lambda storage: np.frombuffer(archive.read(f"{folder}/data/{storage.key}"), storage.dtype)


def _read_stream(file: IO[bytes]) -> tuple[Any, Callable[[_Storage], Array]]:
    file.seek(0)
    if _Unpickler(file).load() != MAGIC:
        raise FileError("the file was not written by torch.save")
    for _ in range(2):  # the protocol version and system information
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    content = unpickler.load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in content.values() if isinstance(tensor, _Tensor)}
    numbers: dict[str, Array] = {}
    for key in map(str, _Unpickler(file).load()):
        dtype = dtypes.get(key, np.dtype("u1"))
        count = int.from_bytes(file.read(8), "little")
        numbers[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return content, lambda storage: numbers[storage.key]
