"""The table of what people really have: each file or row, and what every command answers to it.

The exit code is 0 where everything was done, and 1 where something was left out; what was left out is named once, with
`message`, and a remark about what was done is a note. The good image, row or set beside it is always done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tests.files.images import animation, as_stored, encoded, png_of_size, ramp, tiff
from tests.files.sets import HEIGHT, WIDTH, Content, changed, content_of, everywhere, with_segmentation

GREY = ramp(255, np.uint8, WIDTH, HEIGHT)
COLOUR = np.stack([GREY, GREY[::-1], GREY // 2], axis=2)
NO_IMAGE = "cannot be read as an image: "


@dataclass(frozen=True)
class ImageFile:
    """An image of 64 x 48 pixels upright, as far as it is one."""

    content: bytes
    message: str | None = None
    """What every command says of it, where it cannot be read."""
    for_detectors: str | None = None
    """What the detectors' commands say of it; its values are features for `extract`."""
    note: str | None = None
    """What is said about its orientation where annotations give its size."""
    values: str | None = None
    """What `extract` says of its values, where they are not those of 8 bits."""
    size: tuple[int, int] = (WIDTH, HEIGHT)
    """Width and height in the annotations."""


def _turned(orientation: int, size: tuple[int, int] = (WIDTH, HEIGHT), note: str | None = None) -> ImageFile:
    content = encoded(as_stored(COLOUR, orientation), "JPEG", orientation=orientation, quality=95)
    return ImageFile(content, note=note, size=size)


AMBIGUOUS = "the annotations are assumed to refer to the upright image"
PNG, JPEG = encoded(COLOUR), encoded(COLOUR, "JPEG")
IMAGES: dict[str, ImageFile] = {
    "16-bit.png": ImageFile(encoded(ramp(65535, np.uint16, WIDTH, HEIGHT)), values="a 16-bit image"),
    "16-bit.tif": ImageFile(encoded(ramp(65535, np.uint16, WIDTH, HEIGHT), "TIFF"), values="a 16-bit image"),
    "float.tif": ImageFile(encoded(ramp(1, np.float32, WIDTH, HEIGHT), "TIFF"), values="a float image"),
    "float-255.tif": ImageFile(
        encoded(ramp(255, np.float32, WIDTH, HEIGHT), "TIFF"),
        for_detectors="expected float pixels from 0 to 1, found 0 to 255: scale them",
        values="a float image",
    ),
    "nan.tif": ImageFile(
        encoded(ramp(np.nan, np.float32, WIDTH, HEIGHT), "TIFF"),
        for_detectors="expected float pixels from 0 to 1, found nan to nan",
        values="a float image",
    ),
    "32-bit.tif": ImageFile(
        tiff(ramp(2**31 - 1, np.int32, WIDTH, HEIGHT), 2),
        for_detectors="the range of 32-bit integer pixels is unknown",
        values="a 32-bit image",
    ),
    "one-bit.png": ImageFile(encoded(Image.fromarray(GREY > 99))),
    "grey-alpha.png": ImageFile(encoded(Image.fromarray(GREY).convert("LA"))),
    "rgba.png": ImageFile(encoded(Image.fromarray(COLOUR).convert("RGBA"))),
    "palette.png": ImageFile(encoded(Image.fromarray(COLOUR).convert("P"), transparency=3)),
    "cmyk.jpg": ImageFile(encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG")),
    "animated.gif": ImageFile(animation()),
    "web.webp": ImageFile(encoded(COLOUR, "WEBP")),
    "exif-2.jpg": _turned(2, note=f"EXIF orientation 2: {AMBIGUOUS}"),
    "exif-3.jpg": _turned(3, note=f"EXIF orientation 3: {AMBIGUOUS}"),
    "exif-6.jpg": _turned(6),
    "exif-8-stored.jpg": _turned(8, (HEIGHT, WIDTH), "EXIF orientation 8: width and height are those of the image as"),
    "exif-damaged.jpg": ImageFile(encoded(COLOUR, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")),
    "empty.jpg": ImageFile(b"", f"{NO_IMAGE}an empty file"),
    "text.jpg": ImageFile(b"no image", f"{NO_IMAGE}not an image, or a format that Pillow does not support"),
    "page.jpg": ImageFile(b"<!DOCTYPE html><html>", f"{NO_IMAGE}an HTML page, not the file itself"),
    "pointer.jpg": ImageFile(b"version https://git-lfs.github.com/spec/v1\n", f"{NO_IMAGE}a Git LFS pointer"),
    "phone.jpg": ImageFile(b"\0\0\0\x18ftypheic" + bytes(99), f"{NO_IMAGE}a HEIC photograph: save it as JPEG or PNG"),
    "drawing.eps": ImageFile(b"%!PS-Adobe-3.0 EPSF-3.0\n", f"{NO_IMAGE}a PostScript drawing"),
    "half.png": ImageFile(PNG[: len(PNG) // 2], f"{NO_IMAGE}damaged or cut short"),
    "half.jpg": ImageFile(JPEG[: len(JPEG) // 2], f"{NO_IMAGE}damaged or cut short"),
    "bomb.png": ImageFile(png_of_size(60000, 60000), f"{NO_IMAGE}expected at most "),
}


@dataclass(frozen=True)
class CocoFile:
    """A COCO file with two good images."""

    content: Any
    refused: str | None = None
    """What the detectors' commands say where nothing of it can be used."""
    row: str | None = None
    """What they say of its row that is left out."""
    note: str | None = None
    untrained: str | None = None
    """What `train` says of a row that it leaves out, and `evaluate` does not."""
    boxes: int | str = 4
    """How many boxes `extract` pools, or what it says where it reads none."""


def _annotations(change: Any) -> Content:
    content = content_of()
    content["annotations"] = change(content["annotations"])
    return content


BOX = "annotations[0]: bbox: expected [x, y, width, height], finite"
COUNTS = "annotations[0]: segmentation: expected counts that add up to 3072 pixels, got"
OUTSIDE = "1 object lies outside its image: no detection can match"
COCO: dict[str, CocoFile] = {
    "good": CocoFile(content_of()),
    "ids from 0": CocoFile(_annotations(lambda rows: [{**row, "id": n} for n, row in enumerate(rows)])),
    "ids of text": CocoFile(everywhere("annotations", "image_id", str)),
    "ids of floats": CocoFile(everywhere("annotations", "category_id", float)),
    "huge ids": CocoFile(everywhere("annotations", "id", lambda n: 2**63 + n)),
    "no ids": CocoFile(_annotations(lambda rows: [{k: v for k, v in row.items() if k != "id"} for row in rows])),
    "an id twice": CocoFile(changed("annotations", 1, id=1), row="annotations[1]: id: 1 occurs twice"),
    "a name twice": CocoFile(everywhere("categories", "name", lambda _: "cat"), note="name: 'cat' occurs twice"),
    "an image twice": CocoFile(
        changed("images", 1, file_name="1.png"), note="file_name: '1.png' occurs twice, with ids 1 and 2",
    ),
    "no height": CocoFile(
        changed("annotations", 0, bbox=[4, 6, 20, 0]), row="annotations[0]: bbox: expected [x, y, width, height]"
    ),
    "a side that float32 loses": CocoFile(
        changed("annotations", 0, bbox=[4, 6, 1e-9, 9]), row="annotations[0]: bbox: expected [x, y, width, height]"
    ),
    "a rest that float32 loses": CocoFile(
        changed("annotations", 0, bbox=[63.9999999, 6, 20, 9]), note=OUTSIDE, untrained="annotations[0]: bbox: expected"
    ),
    "corners": CocoFile(
        {**content_of(), "annotations": [{**row, "bbox": [40, 30, 60, 45]} for row in content_of()["annotations"]]},
        note="bbox: 4 of 4 boxes reach beyond the image, and as [x1, y1, x2, y2] every one fits",
    ),
    "panoptic segments": CocoFile(
        {**content_of(), "annotations": [{"image_id": 1, "segments_info": []}]},
        refused="annotations: panoptic segments, not objects", boxes="annotations: panoptic segments, not objects",
    ),
    "outside": CocoFile(
        changed("annotations", 0, bbox=[900, 900, 5, 5]), note=OUTSIDE, untrained="annotations[0]: bbox: expected"
    ),
    "a box of text": CocoFile(changed("annotations", 0, bbox=["4", "6", "20", "9"]), row=BOX, boxes=3),
    "a box of NaN": CocoFile(changed("annotations", 0, bbox=[4, 6, float("nan"), 9]), row=BOX, boxes=3),
    "no box": CocoFile(changed("annotations", 0, bbox=...), row=BOX, boxes=3),
    "area of null": CocoFile(everywhere("annotations", "area", lambda _: None)),
    "area of text": CocoFile(changed("annotations", 0, area="x"), note="annotations[0]: area: expected a number"),
    "iscrowd of null": CocoFile(changed("annotations", 0, iscrowd=None)),
    "counts of less": CocoFile(with_segmentation({"size": [48, 64], "counts": [10, 20]}), row=f"{COUNTS} 30"),
    "no counts": CocoFile(with_segmentation({"size": [48, 64], "counts": []}), row=f"{COUNTS} 0"),
    "no letters": CocoFile(with_segmentation({"size": [48, 64], "counts": ""}), row=f"{COUNTS} 0"),
    "negative counts": CocoFile(
        with_segmentation({"size": [48, 64], "counts": [10, -20, 3072]}),
        row="annotations[0]: segmentation: expected counts of at least 0, got -20",
    ),
    "garbage": CocoFile(
        with_segmentation({"size": [48, 64], "counts": "zzzz\u00e9~~"}),
        row="annotations[0]: segmentation: counts: character 4 is not valid in COCO's compressed counts",
    ),
    "a mask of another image": CocoFile(
        with_segmentation({"size": [64, 48], "counts": [3072]}), row="annotations[0]: segmentation: expected size [48"
    ),
    "two points": CocoFile(with_segmentation([[1, 2, 3, 4]]), row="annotations[0]: segmentation: expected polygons"),
    "a far point": CocoFile(
        with_segmentation([[0, 0, 2e9, 0, 2e9, 2e9]]), row="annotations[0]: segmentation: polygon 0: expected finite"
    ),
    "a huge image": CocoFile(
        _annotations(lambda rows: rows) | {"images": [{"id": 1, "file_name": "1.png", "width": 10**9, "height": 10**9},
                                                      content_of()["images"][1]]},
        row="images[0]: width, height: expected at most", boxes=2,
    ),
    "annotations of null": CocoFile(
        {**content_of(), "annotations": None}, refused="expected a list under 'annotations', got None",
        boxes="expected a list under 'annotations', got None",
    ),
    "no annotations": CocoFile(
        {"images": [], "categories": []}, refused="expected a list under 'annotations', got nothing",
        boxes="expected a list of boxes, or a COCO object with images and annotations",
    ),
    "no category": CocoFile(
        {**content_of(), "categories": []}, refused="categories: expected at least one, got none"
    ),
    "results": CocoFile(
        [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}],
        refused="got list; it looks like a list of results", boxes="a list of COCO results, which has the ids",
    ),
    "nothing": CocoFile("", refused="not JSON: it is an empty file", boxes="not JSON: it is an empty file"),
    "a page": CocoFile("<html>", refused="not JSON: it is an HTML page", boxes="not JSON: it is an HTML page"),
    "cut": CocoFile('{"images": [', refused="not JSON: line 1, column 13", boxes="not JSON: line 1, column 13"),
    "brackets": CocoFile("[" * 99999, refused="brackets nested too deeply", boxes="brackets nested too deeply"),
}  # fmt: skip
