"""One reader of images: the right values whatever their depth, colours and orientation, and words for what is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from roialign.detection.coco import open_image, read_part
from roialign.files import images
from roialign.files.images import open_picture, read_picture, upright_size
from roialign.files.orientation import Annotated, reverse, turn
from roialign.files.problems import FileError
from tests.files.images import TURNS, animation, as_stored, encoded, png_of_size, ramp, tiff


def read_tensor(path: Path) -> Tensor:
    return read_part(open_image(path))


def _written(folder: Path, content: bytes, name: str = "a.img") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


RAMPS = {
    "8 bits": (ramp(255, np.uint8), "PNG", 255),
    "16 bits": (ramp(65535, np.uint16), "PNG", 65535),
    "16 bits, TIFF": (ramp(65535, np.uint16), "TIFF", 65535),
    "floats from 0 to 1": (ramp(1, np.float32), "TIFF", 1),
}


@pytest.mark.parametrize("case", RAMPS)
def test_a_ramp_is_a_ramp_at_any_depth(tmp_path: Path, case: str) -> None:
    values, kind, white = RAMPS[case]
    path = _written(tmp_path, encoded(values, kind))
    np.testing.assert_array_equal(read_picture(path).pixels[..., 0], values, "for features: all the values of the file")
    tensor = read_tensor(path)
    assert tensor.shape == (3, 48, 64)
    np.testing.assert_allclose(tensor[1].numpy(), values.astype(np.float64) / white, atol=1e-6)
    np.testing.assert_allclose(tensor[2, 0].numpy(), np.linspace(0, 1, 64), atol=1 / 255)


@pytest.mark.parametrize(("bits", "white_is_zero"), [(8, False), (8, True), (12, False), (16, False), (16, True)])
def test_white_is_white_in_any_tiff(tmp_path: Path, bits: int, white_is_zero: bool) -> None:
    white = 2**bits - 1
    values = ramp(white, np.uint8 if bits == 8 else np.uint16)
    stored = white - values if white_is_zero else values
    path = _written(tmp_path, tiff(stored, 1, bits=bits, white_is_zero=white_is_zero))
    np.testing.assert_array_equal(read_picture(path).pixels[..., 0], values)
    np.testing.assert_allclose(read_tensor(path)[1].numpy(), values / white, atol=1e-6)
    part = open_picture(path).read((8, 4, 20, 10))
    np.testing.assert_array_equal(part.pixels[..., 0], values[4:14, 8:28])
    remark = read_picture(path).range_remark()
    assert bits == 8 if remark is None else remark.what.startswith(f"a {bits}-bit image: ")


@pytest.mark.parametrize(
    ("values", "sample_format", "message"),
    [
        (ramp(2**31 - 1, np.int32), 2, "the range of 32-bit integer pixels is unknown, found 0 to 2.14748e\\+09"),
        (ramp(2**32 - 1, np.uint32), 1, "the range of 32-bit integer pixels is unknown, found 0 to 4.29497e\\+09"),
        (ramp(255, np.float32), 3, "expected float pixels from 0 to 1, found 0 to 255: scale them"),
        (ramp(np.nan, np.float32), 3, "expected float pixels from 0 to 1, found nan to nan"),
    ],
)
def test_values_without_a_usual_range_are_features_and_no_picture(
    tmp_path: Path, values: Any, sample_format: int, message: str
) -> None:
    path = _written(tmp_path, tiff(values, sample_format))
    np.testing.assert_array_equal(read_picture(path).pixels[..., 0], values.astype(np.float32))
    with pytest.raises(FileError, match=message):
        read_tensor(path)


def test_floats_that_leave_their_range_a_little_are_cut(tmp_path: Path) -> None:
    values = ramp(1, np.float32)
    values[0, :2] = -0.001, 1.002
    tensor = read_tensor(_written(tmp_path, encoded(values, "TIFF")))
    assert (tensor.min(), tensor.max()) == (0, 1)


def _modes() -> dict[str, Image.Image]:
    colours = Image.new("RGB", (64, 48), (200, 100, 50))
    half = Image.new("RGBA", (64, 48), (200, 100, 50, 51))
    palette = Image.new("P", (64, 48), 0)
    palette.putpalette([200, 100, 50])
    return {
        "RGB": colours,
        "CMYK": colours.convert("CMYK"),
        "P": palette,
        "YCbCr": colours.convert("YCbCr"),
        "RGBA": half,
        "LA": Image.new("LA", (64, 48), (100, 51)),
        "1": Image.new("1", (64, 48), 1),
        "I;16B": Image.frombytes("I;16B", (64, 48), ramp(65535, ">u2").tobytes()),
    }


#: What the pixels are, by mode: transparency lies over black.
RIGHT = {"RGBA": (40, 20, 10), "LA": (20, 20, 20), "1": (255, 255, 255)}


@pytest.mark.parametrize("mode", _modes())
def test_every_mode_has_three_right_channels(tmp_path: Path, mode: str) -> None:
    kinds = {"CMYK": "TIFF", "YCbCr": "TIFF", "I;16B": "TIFF"}
    path = _written(tmp_path, encoded(_modes()[mode], kinds.get(mode, "PNG")))
    pixels = read_picture(path).pixels
    assert pixels.shape == (48, 64, 3)
    if mode == "I;16B":
        np.testing.assert_array_equal(pixels[..., 0], ramp(65535, np.uint16))
    else:
        np.testing.assert_allclose(pixels[10, 10], RIGHT.get(mode, (200, 100, 50)), atol=2)
    assert 0 <= float(read_tensor(path).min()) <= float(read_tensor(path).max()) <= 1


def test_transparency_of_palettes_and_of_16_bits_is_black(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert read_picture(_written(tmp_path, encoded(palette, transparency=1))).pixels[0].tolist() == [
        [10, 20, 30],
        [0, 0, 0],
    ]


def test_of_several_frames_the_first_is_taken(tmp_path: Path) -> None:
    pixels = read_picture(_written(tmp_path, animation())).pixels
    assert pixels[0, 0].tolist() == [240, 0, 0]


# Orientation

UPRIGHT = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    more = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(as_stored(UPRIGHT, orientation), kind, orientation=orientation, **more)
    path = _written(tmp_path, content)
    np.testing.assert_array_equal(read_picture(path).pixels, UPRIGHT)
    np.testing.assert_allclose(read_tensor(path).permute(1, 2, 0).numpy() * 255, UPRIGHT, atol=1e-4)


@pytest.mark.parametrize("orientation", TURNS)
def test_turning_is_pillows(orientation: int) -> None:
    image = Image.fromarray(UPRIGHT)
    np.testing.assert_array_equal(turn(UPRIGHT, orientation), np.asarray(image.transpose(TURNS[orientation])))
    np.testing.assert_array_equal(turn(turn(UPRIGHT, orientation), reverse(orientation)), UPRIGHT)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_size_in_the_annotations_decides(tmp_path: Path, kind: str, orientation: int) -> None:
    stored = as_stored(UPRIGHT, orientation)
    path = _written(tmp_path, encoded(stored, kind, orientation=orientation))
    upright = read_picture(path, Annotated((6, 4), [(0, 0, 6, 4)]))
    np.testing.assert_array_equal(upright.pixels, UPRIGHT)
    assert upright.remark is None
    other = read_picture(path, Annotated((4, 6), [(0, 0, 4, 6)]))
    np.testing.assert_array_equal(other.pixels, stored)
    assert other.remark is not None
    assert other.remark.what.startswith(
        f"EXIF orientation {orientation}: width and height are those of the image as stored"
    )
    assert read_picture(path, Annotated(None, [(0, 0, 6, 4)])).pixels.shape == UPRIGHT.shape
    with pytest.raises(FileError, match=r"^expected 60x40 pixels, as in b.json, got 6x4$"):
        read_picture(path, Annotated((60, 40), [(0, 0, 4, 6)], "b.json"))


def test_exchanged_sides_without_a_tag_are_said(tmp_path: Path) -> None:
    path = _written(tmp_path, encoded(UPRIGHT))
    with pytest.raises(FileError, match=r"expected 4x6 pixels, got 6x4; width and height are swapped: .* EXIF"):
        read_picture(path, Annotated((4, 6)))


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
def test_where_the_size_does_not_decide_it_is_said(tmp_path: Path, orientation: int) -> None:
    square = UPRIGHT[:, :4]
    path = _written(tmp_path, encoded(as_stored(square, orientation), orientation=orientation))
    picture = read_picture(path, Annotated((4, 4)))
    np.testing.assert_array_equal(picture.pixels, square)
    assert picture.remark is not None
    assert (
        f"EXIF orientation {orientation}: the annotations are assumed to refer to the upright image"
        in picture.remark.what
    )


def test_a_size_that_the_boxes_contradict_is_refused(tmp_path: Path) -> None:
    wide = np.zeros((40, 100, 3), dtype=np.uint8)
    path = _written(tmp_path, encoded(as_stored(wide, 6), orientation=6))
    for size, box in (((40, 100), (50, 0, 90, 30)), ((100, 40), (0, 50, 30, 90))):
        with pytest.raises(FileError, match=r"EXIF orientation 6: width and height are .* its boxes fit only in"):
            read_picture(path, Annotated(size, [box]))
    picture = read_picture(path, Annotated(None, [(0, 50, 30, 90)]))
    assert picture.pixels.shape == (100, 40, 3)
    assert "EXIF orientation 6: the boxes fit the image as stored" in str(picture.remark)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\0"]
)
def test_exif_that_is_damaged_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    path = _written(tmp_path, encoded(Image.new("RGB", (64, 48)), "JPEG", exif=exif))
    assert read_picture(path).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, orientation: int) -> None:
    path = _written(tmp_path, encoded(UPRIGHT, orientation=orientation))
    assert read_picture(path, Annotated((6, 4))).remark is None
    np.testing.assert_array_equal(read_picture(path).pixels, UPRIGHT)


# What is no image

PNG = encoded(ramp(255, np.uint8))
NO_IMAGES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "an empty file"),
    "text": (b"no image", "not an image, or a format that Pillow does not support"),
    "a page": (b"\n<!DOCTYPE HTML><html>Sign in</html>", "an HTML page, not the file itself: download it again"),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a Git LFS pointer, .* `git lfs pull`",
    ),
    "a photograph of a telephone": (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photograph: save it as JPEG or PNG"),
    "a video": (b"\0\0\0\x18ftypisom\0\0\0\0", "a video: save its frames"),
    "a document": (b"%PDF-1.7\n", "a PDF document"),
    "a drawing": (b'<?xml version="1.0"?><svg xmlns="s"/>', "an SVG drawing: save it as PNG"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript drawing"),
    "a scan": (bytes(128) + b"DICM" + bytes(99), "a DICOM scan: save its frames"),
    "zeros": (bytes(4096), "only zero bytes"),
    "half of a PNG": (PNG[: len(PNG) // 2], "damaged or cut short"),
    "the head of a PNG": (PNG[:20], "damaged or cut short"),
    "half of a JPEG": (encoded(ramp(255, np.uint8), "JPEG")[:400], "damaged or cut short"),
    "too many pixels": (png_of_size(60000, 60000), r"expected at most \d+ pixels, found more: save it smaller"),
}


@pytest.mark.parametrize("case", NO_IMAGES)
def test_what_is_no_image_is_called_what_it_is(tmp_path: Path, case: str) -> None:
    content, message = NO_IMAGES[case]
    path = _written(tmp_path, content, "a.jpg")
    for read in (read_picture, read_tensor):
        with pytest.raises(FileError, match=f"cannot be read as an image: {message}") as raised:
            read(path)
        assert "Pillow" not in str(raised.value) or case == "text"
        assert "<_io" not in str(raised.value)


def test_what_is_no_file_is_called_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    cases = {
        tmp_path / "folder.png": "expected a file, found a folder",
        tmp_path / "pipe.png": "expected a file, found a device or a pipe",
        Path("/dev/zero"): "expected a file, found a device or a pipe",
        tmp_path / "link.png": "a link to a file that does not exist",
        tmp_path / "none.png": "No such file or directory",
        tmp_path / "a\0.png": "not a valid file name",
        tmp_path / "\ud800.png": "not a valid file name",
        tmp_path / ("long" * 200): "File name too long",
    }
    for path, message in cases.items():
        with pytest.raises(FileError, match=f"cannot be read as an image: {message}"):
            read_picture(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"])
def test_a_file_whose_pixels_are_damaged_is_no_image(tmp_path: Path, kind: str) -> None:
    """A PNG says so once only, to whoever asks first, and that may be the search for EXIF."""
    rng = np.random.default_rng(0)
    content = bytearray(encoded(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8), kind))
    if kind == "PNG":
        content[len(content) // 2] ^= 0xFF
    else:
        del content[len(content) // 2 :]
    with pytest.raises(FileError, match="cannot be read as an image: damaged or cut short"):
        read_picture(_written(tmp_path, bytes(content)))


FORMS = {
    **{f"{kind}, turned {way}": (kind, "RGB", way) for kind in ("PNG", "TIFF") for way in range(1, 9)},
    **{f"{kind}, {mode}": (kind, mode, 1) for kind in ("PNG", "TIFF") for mode in ("L", "I;16", "RGBA", "P", "LA")},
    **{f"{kind}, RGB": (kind, "RGB", 1) for kind in ("JPEG", "BMP", "WEBP", "GIF", "JPEG2000", "PPM")},
    "TIFF, F": ("TIFF", "F", 1),
    "TIFF, I": ("TIFF", "I", 1),
    "PNG, a transparent grey value": ("PNG", "transparent", 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_part_of_an_image_is_cut_from_the_whole(tmp_path: Path, form: str) -> None:
    kind, mode, orientation = FORMS[form]
    values = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    if mode in ("RGB", "RGBA", "P", "L", "LA"):
        image = Image.fromarray(as_stored(values, orientation)).convert(mode)
    else:
        dtypes = {"I;16": np.uint16, "F": np.float32, "I": np.int32, "transparent": np.uint16}
        image = Image.fromarray(values[..., 0].astype(dtypes[mode]))
    more = {"transparency": int(values[2, 3, 0])} if mode == "transparent" else {}
    path = _written(tmp_path, encoded(image, kind, orientation=orientation if orientation > 1 else None, **more))
    picture, whole = open_picture(path), read_picture(path)
    assert (picture.width, picture.height) == (9, 7)
    for x, y, width, height in ((0, 0, 9, 7), (0, 0, 2, 3), (5, 3, 4, 4), (8, 6, 1, 1), (2, 1, 3, 5)):
        part = picture.read((x, y, width, height))
        np.testing.assert_array_equal(part.pixels, whole.pixels[y : y + height, x : x + width])
        assert (part.white, part.pixels.flags.c_contiguous) == (whole.white, True)


def test_an_image_that_is_read_in_parts_may_be_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _written(tmp_path, encoded(UPRIGHT))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(FileError, match="expected at most 10 pixels, found more"):
        open_picture(path)
    picture = open_picture(path, large=True)
    assert upright_size(path, large=True) == (picture.width, picture.height) == (6, 4)
    assert Image.MAX_IMAGE_PIXELS == 5, "the limit is back"
    np.testing.assert_array_equal(picture.read((1, 1, 3, 2)).pixels, UPRIGHT[1:3, 1:4])
    monkeypatch.setattr(images, "LARGEST_PICTURE", 20)
    with pytest.raises(FileError, match="expected at most 20 pixels, found more: save it smaller"):
        open_picture(path, large=True)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("photo.jpg", "Photo.JPG"),
        ("images/photo.jpg", "photo.jpg"),
        ("val/images/photo.jpg", "photo.JPG"),
        ("val\\photo.jpg", "val/photo.jpg"),
        ("Gr\u00fc\u00dfe.jpg", "gru\u0308\u00dfe.JPG"),
    ],
)
def test_a_file_that_is_missing_is_looked_for_nearby(tmp_path: Path, name: str, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    Image.new("RGB", (4, 3)).save(tmp_path / there, format="PNG")
    with pytest.raises(FileError) as raised:
        read_picture(tmp_path / name)
    expected = f"No such file or directory; did you mean {tmp_path / there}?"
    assert str(raised.value) == f"cannot be read as an image: {expected}"
    (tmp_path / there).unlink()
    with pytest.raises(FileError, match=r"No such file or directory$"):
        read_picture(tmp_path / name)
