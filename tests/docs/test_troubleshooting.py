"""Every row of docs/troubleshooting.md: what is said to cause it does."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roialign.detection import CocoDataset, DatasetError
from roialign.files.problems import Problems
from tests.commands.invoked import invoke
from tests.commands.real_files import COCO, IMAGES
from tests.files.checkpoints import readable, unreadable
from tests.files.images import as_stored, encoded, tiff
from tests.files.sets import Content, changed, content_of, everywhere, with_segmentation, write_set
from tests.tables.paths import DOCS

#: Runs a command in a folder and gives what it printed to stderr.
Cause = Callable[[Path], str]


def _weights(folder: Path, content: bytes | None = None) -> Path:
    path = folder / "w.pt"
    path.write_bytes(readable()["its own"] if content is None else content)
    return path


def image(content: bytes | str | None) -> Cause:
    """`roialign detect` with a file; of None, with a folder; of a text, with a name of the table's images."""

    def cause(folder: Path) -> str:
        path = folder / "a.png"
        if content is None:
            path.mkdir()
        elif content != "missing":
            path.write_bytes(content if isinstance(content, bytes) else IMAGES[content].content)
        return invoke("detect", path, "--weights", _weights(folder), "--out", folder / "out").stderr

    return cause


def coco(content: Any, first_image: bytes | None = None) -> Cause:
    """`roialign evaluate` on a set."""

    def cause(folder: Path) -> str:
        path = write_set(folder, content if not isinstance(content, bytes) else "")
        if isinstance(content, bytes):
            path.write_bytes(content)
        if first_image is not None:
            (folder / "val/images/1.png").write_bytes(first_image)
        return invoke("evaluate", "--weights", _weights(folder), "--data", folder).stderr

    return cause


def boxes(text: str | bytes, name: str = "b.csv") -> Cause:
    """`roialign extract` with a table."""
    content = text if isinstance(text, bytes) else text.encode()
    return extract({"1.png": IMAGES["rgba.png"].content, name: content}, "1.png", name)


def extract(files: dict[str, bytes | None], inputs: str, table: str = "b.csv") -> Cause:
    """`roialign extract` with these files, of which one of None is a link to nothing."""

    def cause(folder: Path) -> str:
        for name, content in {"b.csv": f"{HEAD}1.png,1,2,9,9\n".encode(), **files}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).symlink_to("nowhere") if content is None else (folder / name).write_bytes(content)
        return invoke("extract", folder / inputs, "--boxes", folder / table, "--out", folder / "f.npz").stderr

    return cause


def checkpoint(name: str) -> Cause:
    """`roialign detect` with a file of weights."""

    def cause(folder: Path) -> str:
        (folder / "a.png").write_bytes(IMAGES["rgba.png"].content)
        weights = _weights(folder, unreadable()[name][0])
        return invoke("detect", folder / "a.png", "--weights", weights, "--out", folder / "out").stderr

    return cause


def ambiguous(folder: Path) -> str:
    """`roialign evaluate` on a folder of two sets that begin alike."""
    (folder / "annotations").mkdir()
    for year in (2014, 2017):
        (folder / f"annotations/instances_val{year}.json").touch()
    return invoke("evaluate", "--weights", _weights(folder), "--data", folder).stderr


def changed_since(folder: Path) -> str:
    """A set whose sizes are read from its images, of which one is then replaced by another."""
    write_set(folder, changed("images", 0, width=None))
    dataset = CocoDataset(folder / "val/annotations.json", folder / "val/images", Problems())
    (folder / "val/images/1.png").write_bytes(encoded(np.zeros((9, 9, 3), dtype=np.uint8)))
    with pytest.raises(DatasetError) as raised:
        dataset[0]
    return f"error: {raised.value}"


def begun_anew(folder: Path) -> str:
    """`roialign train` into a folder of a run that has lost its checkpoint."""
    write_set(folder, content_of())
    (folder / "run").mkdir()
    (folder / "run/model.pt").write_bytes(readable()["its own"])
    return invoke("train", "--data", folder, "--out", folder / "run", "--split", "val").stderr


def _promise() -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (9, 9999, 99999)})
    return file.getvalue()


def untrainable(content: Content, *options: object) -> Cause:
    """`roialign train` on a set that cannot be trained on."""

    def cause(folder: Path) -> str:
        write_set(folder, content)
        return invoke("train", "--data", folder, "--out", folder / "run", "--split", "val", *options).stderr

    return cause


def _sized(width: int, height: int, box: list[int]) -> Content:
    content = changed("images", 0, width=width, height=height)
    content["annotations"][0]["bbox"] = box
    content["annotations"] = content["annotations"][:1]
    return content


def _boxed(box: list[float]) -> Content:
    """A good set whose objects all have this box."""
    return content_of() | {"annotations": [{**row, "bbox": box} for row in content_of()["annotations"]]}


def _outlined(segmentation: object) -> Content:
    """The objects of a good set, each with this outline."""
    return {"annotations": [{**row, "segmentation": segmentation} for row in content_of()["annotations"]]}


def _saved_map(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


LYING = encoded(as_stored(np.zeros((48, 64, 3), dtype=np.uint8), 6), orientation=6)
OVER = encoded(np.zeros((48, 64, 3), dtype=np.uint8), orientation=3)
HEAD = "image,x1,y1,x2,y2\n"
OUTSIDE = changed("annotations", 0, bbox=[900, 900, 5, 5])
WORKBOOK = b"PK\3\4" + bytes(26) + b"[Content_Types].xml" + b"\xff"
CAUSES: dict[str, Cause] = {
    "cannot be read as an image: an empty file": image("empty.jpg"),
    "cannot be read as an image: damaged or cut short": image("half.png"),
    "a TIFF variant that Pillow does not support: save it as PNG": image(tiff(np.zeros((9, 9), dtype=np.float16), 3)),
    "cannot be read as an image: an HTML page, not the file itself": image("page.jpg"),
    "cannot be read as an image: a Git LFS pointer, not the file itself": image("pointer.jpg"),
    "cannot be read as an image: a HEIC photograph": image("phone.jpg"),
    "cannot be read as an image: a PostScript drawing": image("drawing.eps"),
    "cannot be read as an image: not an image, or a format that Pillow does not support": image("text.jpg"),
    "cannot be read as an image: expected at most ... pixels, found more": image("bomb.png"),
    "cannot be read as an image: expected a file, found a folder": coco(changed("images", 0, file_name="../images")),
    "no file in this folder ends in ...": image(None),
    "cannot be read as an image: No such file or directory": image("missing"),
    "expected float pixels from 0 to 1, found ...: scale them": image("float-255.tif"),
    "the range of 32-bit integer pixels is unknown, found ...": image(tiff(np.full((9, 9), 7, dtype=np.int32), 2)),
    "expected 64x48 pixels, as in ..., got ...": coco(content_of(), encoded(np.zeros((9, 9, 3), dtype=np.uint8))),
    "expected 64x48 pixels, as when the dataset was read, got ...": changed_since,
    "width and height are swapped: was the image rotated, or its EXIF orientation removed": coco(
        content_of(), encoded(np.zeros((64, 48, 3), dtype=np.uint8))
    ),
    "a 16-bit image: its values are used as they are and not rescaled: ...": extract(
        {"1.png": IMAGES["16-bit.png"].content}, "1.png"
    ),
    "values are NaN or infinity": extract({"1.npy": _saved_map(np.full((1, 9, 9), np.nan, dtype=np.float32))}, "1.npy"),
    "cannot be read as an image: a link to a file that does not exist": extract({"photos/1.png": None}, "photos"),
    "list.txt, line ...: ...: cannot be read as an image: No such file": extract({"list.txt": b"1.png"}, "list.txt"),
    "EXIF orientation ...: the annotations are assumed to refer to the upright image": coco(content_of(), OVER),
    "EXIF orientation ...: width and height are those of the image as stored": coco(
        _sized(48, 64, [4, 6, 20, 16]), LYING
    ),
    "EXIF orientation: ... read upright by default, such as this one, but ... as stored": extract(
        {"photos/1.png": LYING, "photos/2.png": LYING, "b.csv": f"{HEAD}1.png,1,2,46,62\n2.png,1,2,9,9\n".encode()},
        "photos",
    ),
    "EXIF orientation ...: width and height are those of the image ..., but its boxes fit only in the image ...": coco(
        _sized(48, 64, [30, 6, 30, 16]), LYING
    ),
    "bbox: expected [x, y, width, height], finite, with positive sides, got ...": coco(COCO["no height"].content),
    "boxes reach beyond the image, and as [x1, y1, x2, y2] every one fits": coco(_boxed([40, 30, 60, 45])),
    "every box lies within one pixel: are its numbers relative to the size of the image?": coco(
        _boxed([0.1, 0.2, 0.5, 0.5])
    ),
    "id: ... occurs twice": coco(COCO["an id twice"].content),
    "image_id: ... is not among the images": coco(changed("annotations", 0, image_id=9)),
    "category_id: ... is not among the categories": coco(changed("annotations", 0, category_id=9)),
    "category_id: ... is not among the usable categories": boxes(
        json.dumps(changed("annotations", 0, category_id=9)), "b.json"
    ),
    "rows refer to images or categories that cannot be used": coco(changed("images", 0, width=0)),
    "iscrowd: expected 0 or 1, got ...": coco(changed("annotations", 0, iscrowd="no")),
    "segmentation: expected polygons ...": coco(COCO["two points"].content),
    "segmentation: expected counts that add up to ... pixels, got ...": coco(COCO["counts of less"].content),
    "segmentation: expected size ..., the size of the image, got ...": coco(COCO["a mask of another image"].content),
    "segmentation: counts: character ... is not valid in COCO's compressed counts": coco(COCO["garbage"].content),
    "segmentation: polygon ...: expected finite numbers within 1000000 pixels": coco(
        with_segmentation([[0, 0, 2e9, 0, 2e9, 2e9]])
    ),
    "width, height: expected whole numbers, got ...: read from its file": coco(changed("images", 0, width="64")),
    "width, height: expected at most ... pixels": coco(COCO["a huge image"].content),
    "area: expected a number, got ...: it is computed": coco(COCO["area of text"].content),
    "name: ... occurs twice": coco(everywhere("categories", "name", lambda _: "cat")),
    "file_name: ... occurs twice": coco(COCO["an image twice"].content),
    "categories: expected at least one, got none": coco(COCO["no category"].content),
    "expected at least one object in an image, got none": untrainable({**content_of(), "annotations": []}),
    "expected a list under 'annotations', got ...": coco(COCO["annotations of null"].content),
    "it looks like a list of results": coco(COCO["results"].content),
    "annotations: ..., not objects: use the instances file of the same images": coco(
        {**content_of(), "annotations": [{"image_id": 1, "segments_info": []}]}
    ),
    "split: expected one of ..., got ...": ambiguous,
    "objects have no outline: their boxes are used as masks": coco(with_segmentation([[4, 6, 24, 6, 24, 22]])),
    "outlines without a pixel: in training their boxes are used as masks, and in evaluation no mask can match them": (
        coco(content_of() | _outlined([[5, 5, 5, 5, 5, 5]]))
    ),
    "bbox: expected a box in the image of ... pixels, got ...: not trained on": untrainable(OUTSIDE, "--strict"),
    "object lies outside its image: no detection can match": coco(OUTSIDE),
    "object lies in no patch of ... pixels by 70%: not trained on": untrainable(
        {**content_of(), "annotations": content_of()["annotations"][:1]}, "--patch-size", 8, "--patch-overlap", 2
    ),
    "no object in the ...: the average precision is undefined": coco({**content_of(), "annotations": []}),
    "the model has no class for ... (average precision 0)": coco(changed("categories", 0, name="lion")),
    "not JSON: it is an HTML page": coco(COCO["a page"].content),
    "not JSON: line ..., column ...": coco(COCO["cut"].content),
    "not UTF-8 text: it is UTF-16 text: save it as UTF-8": coco("{}".encode("utf-16")),
    "not UTF-8 text: byte ...: save it as UTF-8": coco('{"Bär": 1}'.encode("latin-1")),
    "expected a header with x1, y1, x2, y2, or ..., found ...": boxes("1.png,1,2,3,4\n"),
    "lists and objects in ... are not read: write one row per box": boxes(
        '[{"image": "1.png", "objects": {"bbox": [[1, 2, 3, 4]], "category": [0]}}]', "b.json"
    ),
    "it is separated by spaces": boxes("image x1 y1 x2 y2\n1.png 1 2 3 4\n", "b.txt"),
    "it is a label file without a header, as YOLO uses": boxes("0 0.5 0.5 0.2 0.2\n", "b.txt"),
    "expected a number, found ...": boxes(f"{HEAD}1.png,1,2,3,four\n"),
    "more rows cannot be used": boxes(HEAD + "1.png,1,2,3,four\n" * 1002),
    "image ... is not among the inputs": boxes(f"{HEAD}2.png,1,2,3,4\n"),
    "column ... names images, such as ..., but is not read": boxes("foto,x1,y1,x2,y2\nb.jpg,1,2,3,4\n"),
    "column ... is not read: does it name images?": boxes("scan,x1,y1,x2,y2\n3,1,2,3,4\n"),
    "column ... rotates boxes, as by ..., but is not read": boxes("image,cx,cy,w,h,angle\n1.png,9,9,4,6,30\n"),
    "columns ... are not read, and hold other boxes: to read them, --columns ...": boxes(
        "image,x1,y1,x2,y2,x,y,w,h\n1.png,1,2,3,4,5,6,7,8\n"
    ),
    "columns ... are read as percent of ..., as Label Studio exports them": boxes(
        "image,x,y,width,height,original_width,original_height\n1.png,1,2,3,4,8,6\n"
    ),
    "boxes belong to images of another size than their columns width and height say": boxes(
        "image,width,height,x1,y1,x2,y2\n1.png,640,480,1,2,3,4\n1.png,640,480,2,2,3,4\n"
    ),
    "a list of COCO results, which has the ids of images instead of their names": boxes(
        json.dumps(COCO["results"].content), "b.json"
    ),
    "a quote that is not closed": boxes(f'{HEAD}"1.png,1,2,3,4\n'),
    "begins with #: skipped as a comment": boxes(f"{HEAD}1.png,1,2,3,4\n#1.png,1,2,3,4\n"),
    "it is JSON: give it a name that ends in .json": boxes("[[1, 2, 3, 4]]"),
    "it looks like JSON Lines": boxes("[1, 2, 3, 4]\n[1, 2, 3, 4]\n", "b.json"),
    "it is an office document, such as an Excel file": boxes(WORKBOOK, "b.xlsx"),
    "it is an XML annotation file, such as Pascal VOC": boxes("<annotation>", "b.xml"),
    "it contains no box": boxes(HEAD),
    "expected at most 4 GiB, found ...": extract({"1.npy": _promise()}, "1.npy"),
    "if it is [H, W, C], give --layout NHWC": extract(
        {"1.npy": _saved_map(np.zeros((48, 64, 3), dtype=np.float32))}, "1.npy"
    ),
    "cannot be read as a weight file: an HTML page": checkpoint("a page"),
    "cannot be read as a weight file: a Git LFS pointer": checkpoint("a pointer"),
    "cut short or damaged: its table of contents is missing": checkpoint("cut short"),
    "damaged: the checksum of ... is wrong": checkpoint("a changed byte"),
    "a safetensors file: convert it with ...": checkpoint("safetensors"),
    "a TorchScript program, not weights": checkpoint("TorchScript"),
    "a pickled model, ..., not weights": checkpoint("a whole model"),
    "it contains ... besides weights": checkpoint("a path besides"),
    "pickled with protocol ..., which cannot be read without running code from the file": checkpoint(
        "another protocol"
    ),
    "expected settings and weights, got only the weights of a roialign detector": checkpoint("our weights alone"),
    "a ... that torch.save did not write": checkpoint("text"),
    "got weights without roi_heads.box_predictor.cls_score.weight": checkpoint("of nobody"),
    "the weights do not fit ...: ... weights missing": checkpoint("too few"),
    "has model.pt but no checkpoint.pt, so training cannot be resumed": begun_anew,
    "expected a model file, got a training checkpoint": checkpoint("to go on training from"),
    "expected finite weights, got NaN or infinity": checkpoint("diverged"),
    "classes: expected at least one class of the dataset, ..., got ...": coco(
        everywhere("categories", "name", lambda name: f"big {name}")
    ),
}


def _rows() -> list[str]:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.*?)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert all(cause.strip() and remedy.strip() for _, cause, remedy in rows)
    return [symptom for symptom, _, _ in rows]


def test_every_row_has_a_cause_here() -> None:
    assert _rows() == list(CAUSES)


@pytest.mark.parametrize("symptom", CAUSES)
def test_the_cause_has_the_symptom(tmp_path: Path, symptom: str) -> None:
    pattern = ".+".join(map(re.escape, symptom.split("...")))
    assert re.search(rf"^(error|note): .*{pattern}", CAUSES[symptom](tmp_path), re.MULTILINE)


def test_the_values_of_deep_images_are_pooled_only_without_a_backbone(tmp_path: Path) -> None:
    page = " ".join((DOCS / "troubleshooting.md").read_text(encoding="utf-8").split())
    assert "`extract` without `--backbone` pools the values of the file" in page
    assert "for a backbone of `roialign extract` it is 255. Without `--backbone`, `roialign extract` pools" in page
    (tmp_path / "b.csv").write_text(f"{HEAD}1.png,0,0,9,9\n")
    backbone = ("--backbone", "pixels", "--format", "npz", "--readers", 0)

    def extracted(content: bytes, name: str, *options: object) -> str:
        (tmp_path / "1.png").write_bytes(content)
        paths = (tmp_path / "1.png", "--boxes", tmp_path / "b.csv", "--out", tmp_path / name)
        return invoke("extract", *paths, "--output-size", 1, *options).stderr

    white = encoded(np.full((9, 9), 65535, dtype=np.uint16))
    assert "a 16-bit image: its values are used as they are" in extracted(white, "own.npz")
    assert np.load(tmp_path / "own.npz")["features"].max() == pytest.approx(65535)
    assert extracted(white, "folder", *backbone) == ""
    (shard,) = (tmp_path / "folder").glob("features-*.npz")
    assert np.load(shard)["vector"].max() == pytest.approx(255)
    for kind, pixels, message in (
        (3, np.full((9, 9), 300, dtype=np.float32), "expected float pixels from 0 to 1, found 300 to 300"),
        (2, np.full((9, 9), 7, dtype=np.int32), "the range of 32-bit integer pixels is unknown, found 7 to 7"),
    ):
        content = tiff(pixels, kind)
        assert extracted(content, "own.npz").startswith("note: ")
        assert f"error: {tmp_path / '1.png'}: {message}" in extracted(content, f"errors-{kind}", *backbone)
