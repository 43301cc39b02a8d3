"""Images and feature maps are read as they are; what cannot be read says why."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roialign.extract.inputs import InputError, average_pool, read_input
from roialign.files.images import read_picture
from tests.tables.paths import EXAMPLES


def test_an_image_is_turned_upright_and_read_as_rgb(tmp_path: Path) -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_picture(tmp_path / "turned.png").pixels
    assert upright.dtype == np.float32
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))


def test_every_kind_of_image_has_three_channels(tmp_path: Path) -> None:
    grey = np.array([[0, 100, 255]], dtype=np.uint8)
    deep = np.array([[0, 1000, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep.astype(np.float32) / 7).save(tmp_path / "float.tif")
    Image.fromarray(grey > 50).save(tmp_path / "bits.png")
    for name, values in (("grey.png", grey), ("deep.png", deep), ("float.tif", deep.astype(np.float32) / 7)):
        np.testing.assert_array_equal(read_picture(tmp_path / name).pixels, np.repeat(values[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(read_picture(tmp_path / "bits.png").pixels[0, :, 0], [0, 255, 255])


def test_transparent_pixels_are_shown_over_black(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(
        read_picture(tmp_path / "rgba.png").pixels[0], [[200, 100, 50], [0, 0, 0], [40, 20, 10]]
    )
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode=None).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png", transparency=1)
    np.testing.assert_array_equal(read_picture(tmp_path / "palette.png").pixels[0], [[10, 20, 30], [0, 0, 0]])


def test_feature_maps_of_either_layout_and_rank(tmp_path: Path) -> None:
    features = np.arange(24.0, dtype=np.float16).reshape(2, 3, 4)
    np.save(tmp_path / "chw.npy", features)
    np.save(tmp_path / "nchw.npy", features[None])
    np.save(tmp_path / "hwc.npy", features.transpose(1, 2, 0))
    np.savez(tmp_path / "one.npz", features)
    np.savez(tmp_path / "two.npz", first=features, second=2 * features)
    for name, layout, array in (
        ("chw.npy", "NCHW", None),
        ("nchw.npy", "NCHW", None),
        ("hwc.npy", "NHWC", None),
        ("one.npz", "NCHW", None),
        ("two.npz", "NCHW", "first"),
    ):
        read = read_input(tmp_path / name, layout=layout, array_name=array)
        assert not read.is_image
        assert read.features.dtype == np.float16
        np.testing.assert_array_equal(read.features, features[None])


def save_pickled(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.png", lambda _: None, "No such file"),
        ("a.png", lambda path: path.mkdir(), "expected a file, found a folder"),
        ("a.png", lambda path: path.write_text("no image"), "cannot be read as an image: not an image"),
        ("a.npy", lambda path: path.write_text("no array"), ""),
        ("a.npz", lambda path: path.write_bytes(b"PK\3\4 no archive"), "damaged, cut short, or not saved by NumPy"),
        ("a.npy", lambda path: np.save(path, np.zeros((2, 2))), "expected a feature map [C, H, W]"),
        ("a.npy", lambda path: np.save(path, np.zeros((2, 3, 4, 5))), "or [1, C, H, W], found shape [2, 3, 4, 5]"),
        ("a.npy", lambda path: np.save(path, np.zeros((3, 0, 4))), "found shape [3, 0, 4]"),
        ("a.npy", lambda path: np.save(path, np.zeros((3, 4, 4), dtype=np.uint8)), "expected dtype float64, float32"),
        ("a.npy", save_pickled, "it holds Python objects, and reading them would run code from the file"),
        ("a.npz", lambda path: np.savez(path, a=1.0, b=2.0), "expected one array, found a, b; choose one with --array"),
        ("a.npz", lambda path: np.savez(path), "expected one array, found none"),
    ],
)
def test_an_input_that_cannot_be_read_says_why(tmp_path: Path, name: str, write: object, message: str) -> None:
    write(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(InputError) as error:
        read_input(tmp_path / name)
    assert message in str(error.value)
    assert str(error.value)


def test_a_truncated_image_says_so(tmp_path: Path) -> None:
    whole = (EXAMPLES / "astronaut.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as an image: damaged or cut short"):
        read_input(tmp_path / "half.png")


def test_average_pool_takes_the_mean_of_what_there_is() -> None:
    features = np.random.default_rng(0).normal(size=(1, 2, 7, 9)).astype(np.float32)
    pooled = average_pool(features, 4)
    assert pooled.shape == (1, 2, 2, 3)
    assert pooled.dtype == np.float32
    for row, column in itertools.product(range(2), range(3)):
        part = features[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        np.testing.assert_allclose(pooled[0, :, row, column], part.mean(axis=(1, 2)), rtol=1e-6)
