"""What every command answers to the files that people really have: exit code, message, and what is done beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from roialign.detection.training.settings import SIZES
from tests.commands.invoked import invoke, told
from tests.commands.real_files import COCO, IMAGES, NO_IMAGE, PNG, CocoFile, ImageFile
from tests.files.checkpoints import readable, unreadable
from tests.files.images import encoded
from tests.files.sets import Content, content_of, write_set


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the small detector."""
    path = tmp_path_factory.mktemp("weights") / "w.pt"
    path.write_bytes(readable()["its own"])
    return path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `roialign train` makes here is smaller than its `small`: it is built and saved faster."""
    sizes = {"width": 8, "out_channels": 8, "hidden": 16, "mask_hidden": 8}
    samples = {"proposals": {"before_nms": (50, 50), "after_nms": (40, 40)}, "regions": {"sample_size": 16}}
    monkeypatch.setitem(SIZES, "small", {**sizes, **samples})


def _check(result: Result, messages: list[str], note: str | None = None) -> None:
    """Every message is said once, in this order, and nothing else; the exit code says whether there was one."""
    said = told(result)
    assert len(said) == len(messages), result.stderr
    for line, message in zip(said, messages, strict=True):
        assert message in line
    assert result.exit_code == (1 if messages else 0), result.stderr
    notes = told(result, "note")
    assert bool(notes) == (note is not None), notes
    for line in notes:
        assert str(note) in line or "the model has no class for" in line  # the second of two classes of one name
    assert not notes or str(note) in notes[0]


# Images


def _image_set(folder: Path, name: str, image: ImageFile) -> tuple[Path, Path]:
    """A set of that image and a good one; the image's path, and the good one's."""
    content = content_of(2)
    width, height = image.size
    content["images"][0] |= {"file_name": name, "width": width, "height": height}
    for row in content["annotations"][:2]:
        row["bbox"] = [4, 6, 20, 16]
    pictures = folder / "val/images"
    pictures.mkdir(parents=True)
    (pictures / name).write_bytes(image.content)
    write_set(folder, content)
    return pictures / name, pictures / "2.png"


def _said_of(path: Path, *messages: str | None) -> list[str]:
    return [f"{path}: {message}" for message in messages if message is not None]


@pytest.mark.parametrize("name", IMAGES)
def test_detect_draws_what_it_can(tmp_path: Path, weights: Path, name: str) -> None:
    image = IMAGES[name]
    path, good = _image_set(tmp_path, name, image)
    result = invoke("detect", path, good, "--weights", weights, "--out", tmp_path / "out")
    _check(result, _said_of(path, image.message, image.for_detectors))
    done = [row["file_name"] for row in json.loads((tmp_path / "out/detections.json").read_text())["images"]]
    assert done == [str(good)] if told(result) else [str(path), str(good)]
    assert len(list((tmp_path / "out").glob("*.png"))) == len(done)


@pytest.mark.parametrize("name", IMAGES)
def test_extract_pools_what_it_can(tmp_path: Path, name: str) -> None:
    image = IMAGES[name]
    path, good = _image_set(tmp_path, name, image)
    result = invoke("extract", path, good, "--boxes", tmp_path / "val/annotations.json", "--out", tmp_path / "f.npz")
    _check(result, _said_of(path, image.message), image.note or image.values)
    with np.load(tmp_path / "f.npz") as pooled:
        assert set(pooled["images"]) == ({str(good)} if image.message else {str(path), str(good)})


@pytest.mark.parametrize("name", IMAGES)
def test_evaluate_measures_what_it_can(tmp_path: Path, weights: Path, name: str) -> None:
    image = IMAGES[name]
    path, _ = _image_set(tmp_path, name, image)
    arguments = ("evaluate", "--weights", weights, "--data", tmp_path, "--metrics", tmp_path / "m.json")
    result = invoke(*arguments)
    said = _said_of(path, image.message, image.for_detectors)
    _check(result, said, image.note)
    assert json.loads((tmp_path / "m.json").read_text())["images"] == (1 if said else 2)
    if said:
        _check(invoke(*arguments, "--strict"), said)


def _train(folder: Path, *more: object) -> Result:
    options = ("--split", "val", "--iterations", 1, "--batch-size", 2, "--model", "faster-rcnn", "--evaluate-every", 0)
    return invoke("train", "--data", folder, "--out", folder / "run", *options, *more)


@pytest.mark.parametrize("name", IMAGES)
def test_train_learns_from_what_it_can(tmp_path: Path, name: str) -> None:
    image = IMAGES[name]
    path, _ = _image_set(tmp_path, name, image)
    said = _said_of(path, image.message, image.for_detectors)
    if said:
        _check(_train(tmp_path, "--strict"), said)
        assert not (tmp_path / "run/model.pt").exists()
    _check(_train(tmp_path), said, image.note)
    assert (tmp_path / "run/model.pt").is_file()


# COCO files


def _rows_said(case: CocoFile) -> list[str]:
    said = [message for message in (case.refused, case.row) if message is not None]
    return (
        [*said, "rows refer to images or categories that cannot be used"]
        if (case.row or "").startswith("images[")
        else said
    )


@pytest.mark.parametrize("name", COCO)
def test_evaluate_and_train_name_the_row_and_go_on(tmp_path: Path, weights: Path, name: str) -> None:
    case = COCO[name]
    path = write_set(tmp_path, case.content)
    said = [f"{path}: " for _ in _rows_said(case)]
    if case.refused and "categories" in case.refused:
        said = said[:1] + [f"{path}: "] * 4
    metrics = tmp_path / "m.json"
    arguments = ("evaluate", "--weights", weights, "--data", tmp_path, "--metrics", metrics)
    untrained = [f"{path}: {case.untrained}"] if case.untrained else []
    for result, more in ((invoke(*arguments), []), (_train(tmp_path), untrained)):
        _check(result, said + more, None if more else case.note)
        for message in _rows_said(case):
            assert message in result.stderr
    assert (tmp_path / "run/model.pt").is_file() == metrics.is_file() == (case.refused is None)
    if case.row:
        for result in (invoke(*arguments, "--strict"), _train(tmp_path, "--strict")):
            assert result.exit_code == 1
            assert case.row in result.stderr


@pytest.mark.parametrize("name", COCO)
def test_extract_names_the_row_and_goes_on(tmp_path: Path, name: str) -> None:
    case = COCO[name]
    path = write_set(tmp_path, case.content)
    pictures = [tmp_path / "val/images" / f"{number}.png" for number in (1, 2)]
    for picture in pictures:
        picture.write_bytes(PNG)
    result = invoke("extract", *pictures, "--boxes", path, "--out", tmp_path / "f.npz")
    if isinstance(case.boxes, str):
        assert result.exit_code == 1
        assert case.boxes in result.stderr
    else:
        assert result.exit_code == (case.boxes < 4)
        of_image = (case.row or "").startswith("images[")  # named once, with its boxes
        assert len(told(result)) == (1 if of_image else 4 - case.boxes)
        with np.load(tmp_path / "f.npz") as pooled:
            assert len(pooled["rows"]) == case.boxes


@pytest.mark.parametrize("command", ["train", "evaluate", "extract"])
def test_a_byte_order_mark_is_read_by_every_command(tmp_path: Path, weights: Path, command: str) -> None:
    path = write_set(tmp_path, content_of(), bom=True)
    if command == "train":
        result = _train(tmp_path)
    elif command == "evaluate":
        result = invoke("evaluate", "--weights", weights, "--data", tmp_path)
    else:
        table = tmp_path / "boxes.csv"
        table.write_bytes(b"\xef\xbb\xbfimage,x1,y1,x2,y2\r\n1.png,0,0,9,9\r\n")
        pictures = [tmp_path / "val/images/1.png", tmp_path / "val/images/2.png"]
        _check(invoke("extract", *pictures, "--boxes", table, "--out", tmp_path / "f.npz"), [])
        result = invoke("extract", *pictures, "--boxes", path, "--out", tmp_path / "f.npz")
    _check(result, [])


# Checkpoints


@pytest.mark.parametrize("command", ["detect", "evaluate"])
@pytest.mark.parametrize("name", [*readable(), *unreadable()])
def test_a_checkpoint_is_read_or_called_what_it_is(tmp_path: Path, name: str, command: str) -> None:
    good = name in readable()
    path = tmp_path / "w.pt"
    path.write_bytes(readable()[name] if good else unreadable()[name][0])
    write_set(tmp_path, content_of())
    arguments: dict[str, tuple[Any, ...]] = {
        "detect": ("detect", tmp_path / "val/images/1.png", "--out", tmp_path / "out"),
        "evaluate": ("evaluate", "--data", tmp_path, "--metrics", tmp_path / "out.json"),
    }
    result = invoke(*arguments[command], "--weights", path)
    _check(result, [] if good else [f"{path}: "])
    assert bool(list(tmp_path.glob("out*"))) == good


def test_the_classes_of_a_file_without_names_are_mapped(tmp_path: Path) -> None:
    content = readable()["its own"]
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    renamed = content_of()
    for row, name in zip(renamed["categories"], ("lion", "wolf"), strict=True):
        row["name"] = name
    annotations = write_set(tmp_path, renamed)
    arguments = ("evaluate", "--weights", path, "--data", tmp_path)
    (refused,) = told(invoke(*arguments))
    assert (
        "classes: expected at least one class of the dataset, lion, wolf, got cat, dog; give the model the names"
        in refused
    )
    for names in ("lion,wolf", annotations):
        _check(invoke(*arguments, "--classes", names), [])
    _check(invoke(*arguments, "--classes", "lion"), ["classes: expected 2 names, one per class without the background"])
    out = tmp_path / "out"
    _check(
        invoke("detect", tmp_path / "val/images/1.png", "--weights", path, "--out", out, "--classes", "lion,wolf"), []
    )
    named = json.loads((out / "detections.json").read_text())["categories"]
    assert [row["name"] for row in named] == ["lion", "wolf"]


# Strips, and everything in one folder


@pytest.mark.parametrize("size", [(2000, 3), (3, 2000), (1, 1)])
def test_a_strip_is_an_image_like_any_other(tmp_path: Path, weights: Path, size: tuple[int, int]) -> None:
    image = ImageFile(encoded(np.zeros((size[1], size[0], 3), dtype=np.uint8)), size=size)
    path, good = _image_set(tmp_path, "strip.png", image)
    _check(invoke("detect", path, good, "--weights", weights, "--out", tmp_path / "out"), [])
    assert len(json.loads((tmp_path / "out/detections.json").read_text())["images"]) == 2
    note = "2 objects lie outside their images: no detection can match"
    _check(invoke("evaluate", "--weights", weights, "--data", tmp_path), [], note)
    _check(_train(tmp_path), [f"annotations[{row}]: bbox: expected a box in the image of" for row in (0, 1)])


def test_names_that_lead_nowhere_leave_the_others(tmp_path: Path, weights: Path) -> None:
    _, good = _image_set(tmp_path, "a.png", IMAGES["rgba.png"])
    loop, long = tmp_path / "loop.png", tmp_path / ("long" * 200)
    loop.symlink_to(loop)
    said = [f"{loop}: {message}" for message in (f"{NO_IMAGE}Too many levels of symbolic links",)]
    said.append(f"{long}: {NO_IMAGE}File name too long")
    _check(invoke("detect", loop, long, good, "--weights", weights, "--out", tmp_path / "out"), said)
    boxes = ("--boxes", tmp_path / "val/annotations.json", "--out", tmp_path / "f.npz")
    _check(invoke("extract", loop, long, good, *boxes, "--ignore-missing"), said)


def test_a_result_that_cannot_be_written_is_named(tmp_path: Path, weights: Path) -> None:
    _, good = _image_set(tmp_path, "a.png", IMAGES["rgba.png"])
    (tmp_path / "out/detections.json").mkdir(parents=True)
    result = invoke("detect", good, "--weights", weights, "--out", tmp_path / "out")
    _check(result, [f"{tmp_path / 'out/detections.json'}: cannot be written: Is a directory"])


def _everything(folder: Path) -> tuple[Content, list[Path], list[str]]:
    """All images of the table and all rows that are left out, in one set; the bad images, and what is said of rows."""
    content = content_of(2)
    pictures = folder / "val/images"
    pictures.mkdir(parents=True)
    bad = []
    for number, (name, image) in enumerate(IMAGES.items(), start=3):
        (pictures / name).write_bytes(image.content)
        row = {"id": number, "file_name": name, "width": image.size[0], "height": image.size[1]}
        content["images"].append(row)
        content["annotations"].append(
            {"id": 1000 + number, "image_id": number, "category_id": 1, "bbox": [4, 6, 20, 16]}
        )
        if image.message or image.for_detectors:
            bad.append(pictures / name)
    said = []
    for case in COCO.values():
        if case.row and case.row.startswith("annotations[0]"):
            said.append(f"annotations[{len(content['annotations'])}]" + case.row.removeprefix("annotations[0]"))
            wrong = case.content["annotations"][0]
            content["annotations"].append({**wrong, "id": 5000 + len(said), "image_id": 1})
    (pictures / "folder.png").mkdir()
    for name in ("folder.png", "missing.png"):
        row = {"id": 900 + len(bad), "file_name": name, "width": 64, "height": 48}
        content["images"].append(row)
        bad.append(pictures / name)
    return content, bad, said


def test_one_folder_with_all_of_it(tmp_path: Path, weights: Path) -> None:
    content, bad, rows = _everything(tmp_path)
    path = write_set(tmp_path, {**content, "images": content["images"][:2]})
    path.write_text(json.dumps(content))
    good = len(content["images"]) - len(bad)

    def check(result: Result, with_rows: bool) -> None:
        said = told(result)
        assert result.exit_code == 1
        for name in map(str, bad):
            assert len([line for line in said if line.startswith(f"{name}: ")]) == 1, name
        for row in rows if with_rows else []:
            assert len([line for line in said if line.startswith(f"{path}: {row}")]) == 1, row
        assert len(said) == len(bad) + (len(rows) if with_rows else 0)
        assert result.stderr.endswith(f"{len(said)} problems\n")

    evaluated = invoke("evaluate", "--weights", weights, "--data", tmp_path, "--metrics", tmp_path / "m.json")
    check(evaluated, with_rows=True)
    assert json.loads((tmp_path / "m.json").read_text())["images"] == good
    pictures = [tmp_path / "val/images" / row["file_name"] for row in content["images"]]
    check(invoke("detect", *pictures, "--weights", weights, "--out", tmp_path / "out"), with_rows=False)
    assert len(json.loads((tmp_path / "out/detections.json").read_text())["images"]) == good
    options = ("--split", "val", "--iterations", 5, "--batch-size", 8, "--model", "faster-rcnn")
    check(invoke("train", "--data", tmp_path, "--out", tmp_path / "run", *options), with_rows=True)
    assert (tmp_path / "run/model.pt").is_file()
