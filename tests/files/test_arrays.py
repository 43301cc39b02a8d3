"""Feature maps of NumPy's files: what is none is called what it is, and nothing takes more memory than is said."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from roialign.files.arrays import read_feature_map
from roialign.files.problems import FileError
from tests.files.checkpoints import saved


def _header(shape: tuple[int, ...], version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    content = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, content) if version == (1, 0) else (
        np.lib.format.write_array_header_2_0(file, content)
    )
    return file.getvalue()


def _archive(member: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", member)
    return file.getvalue()


WHOLE = _header((2, 5, 6)) + bytes(240)
FROM_TORCH = r"a PyTorch file: write the map with numpy\.save\('map\.npy', tensor\.numpy\(\)\)"
CASES: dict[str, tuple[str, bytes, str]] = {
    "a page": ("m.npy", b"<!DOCTYPE html><html>Sign in</html>", "it is an HTML page, not the file itself"),
    "a page in an archive's place": ("m.npz", b"<html>", "it is an HTML page, not the file itself"),
    "text": ("m.npy", b"array", "damaged, cut short, or not saved by NumPy"),
    "nothing": ("m.npy", b"", "it is an empty file"),
    "a pickle": ("m.npy", pickle.dumps([1]), "it holds Python objects"),
    "a tensor": ("m.npy", saved(torch.zeros(2, 5, 6)), f"expected a NumPy array, found {FROM_TORCH}"),
    "tensors": ("m.npz", saved({"a": torch.zeros(2, 5, 6)}), f"expected a NumPy array, found {FROM_TORCH}"),
    "a tensor of an older PyTorch": (
        "m.npy",
        saved(torch.zeros(2, 5, 6), _use_new_zipfile_serialization=False),
        f"cannot be read as a NumPy array: it is {FROM_TORCH}",
    ),
    "objects": ("m.npy", WHOLE.replace(b"'<f4'", b"'|O' "), "it holds Python objects"),
    "a promise": (
        "m.npy",
        _header((1, 2**20, 2**20)),
        r"expected at most 4 GiB, found \[1, 1048576, 1048576\] of float32",
    ),
    "a promise of the second version": ("m.npy", _header((1, 2**20, 2**20), (2, 0)), "expected at most 4 GiB, found"),
    "a promise in an archive": ("m.npz", _archive(_header((1, 2**20, 2**20))), "expected at most 4 GiB, found"),
    "a negative side": ("m.npy", _header((1, -2, 2**62)), "damaged, cut short, or not saved by NumPy|expected"),
    "cut short": ("m.npy", WHOLE[:-1], "damaged, cut short, or not saved by NumPy"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_map_is_called_what_it_is(tmp_path: Path, case: str) -> None:
    name, content, message = CASES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=message):
        read_feature_map(tmp_path / name, "NCHW", None)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(_archive(WHOLE + bytes(1 << 21)))
    (tmp_path / "m.npz").write_bytes(content)
    assert read_feature_map(tmp_path / "m.npz", "NCHW", None).shape == (1, 2, 5, 6)
    monkeypatch.setattr("roialign.files.archives.LARGEST_UNPACKED", 1 << 20)
    with pytest.raises(FileError, match=r"expected at most \d GiB unpacked, found 0.00195 GiB"):
        read_feature_map(tmp_path / "m.npz", "NCHW", None)


def test_a_changed_byte_of_an_archive_is_found(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, a=np.ones((2, 5, 6), dtype=np.float32))
    content = bytearray(file.getvalue())
    content[content.index(b"NUMPY") + 200] ^= 1
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(FileError, match="damaged, cut short"):
        read_feature_map(tmp_path / "m.npz", "NCHW", None)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_map_is_read_in_either_byte_order(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(dtype)
    for order in "<>":
        np.save(tmp_path / "m.npy", values.astype(values.dtype.newbyteorder(order)))
        read = read_feature_map(tmp_path / "m.npy", "NCHW", None)
        assert read.dtype == np.dtype(dtype)
        assert read.dtype.isnative
        np.testing.assert_array_equal(read[0], values)


def test_the_type_of_a_map_is_one_that_the_file_can_hold(tmp_path: Path) -> None:
    hint = "; if it was bfloat16, which NumPy's files cannot hold, save it as float32"
    for dtype, got in ((ml_dtypes.bfloat16, f"|V2{hint}"), (np.int8, "int8"), ([("a", "i1")], "[('a', 'i1')]")):
        np.save(tmp_path / "m.npy", np.ones((2, 5, 6)).astype(dtype))
        with pytest.raises(FileError) as raised:
            read_feature_map(tmp_path / "m.npy", "NCHW", None)
        assert str(raised.value) == f"expected dtype float64, float32, float16, got {got}"
