"""Keeps the features of a run in a temporary file, and writes them to the result piece by piece."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._typing import Array
from ..files.writing import add_arrays

#: The approximate number of bytes of the pieces in which features are copied into the result.
PIECE_BYTES = 1 << 24


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
        add_arrays(archive, arrays)
        with archive.open("features.npy", "w", force_zip64=True) as member:
            shape = (len(order), *row_shape)
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for piece in store.pieces(int(np.prod(row_shape)) * dtype.itemsize, order):
                member.write(piece)
