"""Detectors in use: average precision, detections in pictures, and the commands for them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from roialign.detection import (
    CocoDataset,
    DatasetError,
    DataWarning,
    DetectorSettings,
    TimmBackbone,
    TwoStageDetector,
    detecting,
    evaluate_model,
    load_model,
    save_model,
)
from roialign.detection.average_precision import average_precision
from roialign.detection.detecting import detect_images, picture_names
from roialign.detection.drawing import Drawn, colour_of, draw_detections
from roialign.detection.evaluation import coco_rows, match_categories, predict
from roialign.detection.model_files import MODEL_FILE
from roialign.detection.patch_detection import PatchMask
from roialign.files.problems import Problems
from roialign.files.run_lengths import encoded
from tests.commands.invoked import invoke
from tests.detection.detectors import SETTINGS, validation_set, write_small_scenes


def _knowing(dataset: CocoDataset, change: Any = None) -> TwoStageDetector:
    """A model whose detections are the truth, or what `change` makes of it."""
    model = SETTINGS.build()
    answers = [dataset[index][1] for index in range(len(dataset))]

    def forward(images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert not model.training
        target = answers.pop(0)
        found = {
            "boxes": target["boxes"].clone(),
            "labels": target["labels"],
            "scores": torch.linspace(0.9, 0.6, len(target["labels"])),
            "masks": target["masks"][:, None].float(),
        }
        return [change(found) if change else found for _ in images]

    model.forward = forward  # type: ignore[method-assign]
    return model


def test_the_truth_has_an_average_precision_of_one(scenes: Path) -> None:
    dataset, done = validation_set(scenes), []
    model = _knowing(dataset).train()
    figures = evaluate_model(model, dataset, progress=lambda: done.append(None))
    assert model.training
    assert (figures["images"], len(done)) == (4, 4)
    present = {dataset.class_names[int(label) - 1] for _, target in dataset for label in target["labels"]}
    for kind in ("box", "mask"):
        assert [figures[kind][name] for name in ("AP", "AP50", "AP75", "AR")] == pytest.approx([1, 1, 1, 1])
        assert figures[kind]["AP_large"] is None, "no object has 96 pixels squared"
        by_class = figures[kind]["AP_by_class"]
        assert {name for name, value in by_class.items() if value is not None} == present
        assert [by_class[name] for name in present] == pytest.approx([1] * len(present))
    assert json.loads(json.dumps(figures)) == figures


def test_a_box_counts_up_to_its_overlap(scenes: Path) -> None:
    dataset = validation_set(scenes)

    def narrower(found: dict[str, Tensor]) -> dict[str, Tensor]:
        found["boxes"][:, 2] -= 0.28 * (found["boxes"][:, 2] - found["boxes"][:, 0])  # overlap: 0.72
        return found

    box = evaluate_model(_knowing(dataset, narrower), dataset)["box"]
    assert box["AP_by_iou"] == pytest.approx({f"0.{o:02}": float(o <= 70) for o in range(50, 100, 5)})
    assert box["AP"] == pytest.approx(0.5)
    assert (box["AP50"], box["AP75"]) == pytest.approx((1, 0))


def test_wrong_classes_score_nothing(scenes: Path) -> None:
    dataset = validation_set(scenes)

    def other(found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**found, "labels": found["labels"] % 10 + 1}

    assert evaluate_model(_knowing(dataset, other), dataset)["mask"]["AP"] < 0.5
    assert average_precision(dataset, [], "box")["AP"] == 0
    with pytest.raises(ValueError, match="kind: expected one of box, mask, rotated_box, got 'segm'"):
        average_precision(dataset, [], "segm")


def test_objects_without_an_outline_are_their_boxes(tmp_path: Path) -> None:
    content = {
        "categories": [{"id": 5, "name": "cat"}],
        "images": [{"id": 3, "file_name": "a.png", "width": 20, "height": 10}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 5, "bbox": [2, 3, 8, 5]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    dataset = CocoDataset(tmp_path / "a.json", tmp_path)
    mask = torch.zeros(1, 1, 10, 20)
    mask[..., 3:8, 2:10] = 1
    found = {"boxes": torch.tensor([[2.0, 3, 10, 8]]), "scores": torch.ones(1), "labels": torch.ones(1, dtype=int)}
    rows = coco_rows({**found, "masks": mask}, 3, [5])
    assert rows[0]["bbox"] == [2, 3, 8, 5]
    before = json.dumps(dataset.records)
    assert average_precision(dataset, rows, "box")["AP"] == pytest.approx(1)
    assert average_precision(dataset, rows, "mask")["AP"] == pytest.approx(1)
    assert json.dumps(dataset.records) == before
    assert coco_rows(found, 3, [None]) == []


def test_an_unreadable_image_is_named_and_the_others_count(tmp_path: Path) -> None:
    write_small_scenes(tmp_path, 3)
    dataset = validation_set(tmp_path)
    model = _knowing(dataset)
    broken = tmp_path / "val/images/000003.png"
    broken.write_bytes(b"no image")
    refusing = CocoDataset(dataset.annotations, dataset.images, strict=True)
    with pytest.raises(DatasetError, match=r"000003\.png: cannot be read as an image"):
        evaluate_model(SETTINGS.build(), refusing)
    with pytest.warns(DataWarning, match=r"000003\.png: cannot be read as an image"):
        assert evaluate_model(SETTINGS.build(), dataset)["images"] == 2
    problems = Problems()
    figures = evaluate_model(model, dataset, problems=problems)
    assert [problem.where for problem in problems] == [str(broken)]
    assert next(iter(problems)).what.startswith("cannot be read as an image: ")
    assert figures["images"] == 2
    assert figures["box"]["AP"] == pytest.approx(1), "its objects are not missed"


def test_the_classes_of_model_and_set_meet_by_name(scenes: Path) -> None:
    dataset = validation_set(scenes)
    assert match_categories(["7", "cat", "0"], dataset) == [8, None, 1]
    with pytest.raises(ValueError, match=r"classes: expected at least one class of the dataset, 0, .*, got cat, dog"):
        match_categories(["cat", "dog"], dataset)
    with pytest.raises(ValueError, match="category_ids: expected 10, one per class of the model, got 2"):
        predict(SETTINGS.build(), dataset, category_ids=[1, 2])


def test_detections_are_written_and_drawn(scenes: Path, tmp_path: Path) -> None:
    model, settings = load_model(scenes)
    images = sorted((scenes / "val/images").glob("*.png"))[:2]
    images.insert(1, tmp_path / "broken.png")
    images[1].write_bytes(b"no image")
    problems, done = Problems(), []
    found = detect_images(
        model, settings, images, tmp_path / "out", problems, score_threshold=0.0, progress=lambda: done.append(None)
    )
    assert [str(problem) for problem in problems] == [
        f"{images[1]}: cannot be read as an image: not an image, or a format that Pillow does not support"
    ]
    assert len(done) == 3
    content = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [row["file_name"] for row in content["images"]] == [str(images[0]), str(images[2])]
    assert [one.count for one in found] == [5, 5]
    with torch.no_grad():
        expected = model([validation_set(scenes)[0][0]])[0]
    of_first = [row for row in content["annotations"] if row["image_id"] == 1]
    assert [row["score"] for row in of_first] == expected["scores"].tolist()
    assert [row["category_name"] for row in of_first] == [settings.classes[n - 1] for n in expected["labels"].tolist()]
    assert [row["area"] for row in of_first] == expected["masks"].gt(0.5).sum(dim=(1, 2, 3)).tolist()
    assert len({row["id"] for row in content["annotations"]}) == 10
    assert {row["name"] for row in content["categories"]} == set(settings.classes)
    for one in found:
        with Image.open(one.picture) as picture:
            assert picture.size == (800, 800)
    none = detect_images(model, settings, images[:1], tmp_path / "none", Problems(), score_threshold=1.0)
    assert (none[0].count, none[0].best) == (0, "")


def test_pictures_never_replace_an_image_or_each_other(tmp_path: Path) -> None:
    images = [tmp_path / "a.png", tmp_path / "b" / "a.jpg", tmp_path / "a-detections.png"]
    names = picture_names(images, tmp_path)
    assert [path.name for path in names] == [
        "a-detections-2.png",
        "a-detections-3.png",
        "a-detections-detections.png",
    ]


def test_a_turned_photograph_is_seen_upright(scenes: Path, tmp_path: Path) -> None:
    model, settings = load_model(scenes)
    turned = Image.new("RGB", (60, 40))
    exif = turned.getexif()
    exif[274] = 6  # to be turned by a quarter
    turned.save(tmp_path / "a.jpg", exif=exif)
    detect_images(model, settings, [tmp_path / "a.jpg"], tmp_path, Problems())
    row = json.loads((tmp_path / "detections.json").read_text())["images"][0]
    assert (row["width"], row["height"]) == (40, 60)


def test_masks_boxes_and_names_are_where_they_belong(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 10:20] = True
    image = np.full((3, 40, 60), 0.5)
    draw_detections(tmp_path / "d.png", image, [Drawn((10, 10, 40, 30), "$ 5", 0.875, 2, mask)])
    with Image.open(tmp_path / "d.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB"), dtype=int)
    assert pixels.shape[1] == 800
    scale = pixels.shape[1] / 60

    def at(x: float, y: float) -> list[int]:
        return pixels[round(y * scale), round(x * scale)].tolist()

    colour = [int(colour_of(2)[place : place + 2], 16) for place in (1, 3, 5)]
    assert np.allclose(at(35, 20), 128, atol=3), "in the box, beside the mask"
    assert np.allclose(at(15, 24), np.array(colour) * 0.45 + 128 * 0.55, atol=4), "the mask"
    assert np.allclose(at(40, 20), colour, atol=4), "the edge of the box"
    assert np.allclose(at(50, 35), 128, atol=3), "outside"
    assert len({colour_of(label) for label in range(1, 91)}) == 90


def test_a_part_of_a_mask_is_drawn_like_the_whole(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[12:30, 11:20] = np.random.default_rng(0).random((18, 9)) < 0.7
    image = np.full((3, 40, 60), 0.5)
    draw_detections(tmp_path / "a.png", image, [Drawn((10, 10, 40, 30), "a", 0.5, 2, mask)])
    part = Drawn((10, 10, 40, 30), "a", 0.5, 2, mask[12:30, 11:20], origin=(11, 12))
    draw_detections(tmp_path / "b.png", image, [part])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_masks_in_patches_are_reduced_with_their_image() -> None:
    random = np.random.default_rng(0)
    whole = np.zeros((80, 90), dtype=bool)
    whole[21:60, 33:71] = random.random((39, 38)) < 0.5
    patch = PatchMask(encoded(whole[15:75, 30:90]), 30, 15)
    for block in ((1, 1), (3, 4), (7, 2)):
        image = torch.zeros(3, 80 // block[0], 90 // block[1])
        found = {"scores": torch.ones(1)}
        ((mask, (x, y)),) = detecting._drawn_masks(detecting._Detected(90, 80, image, block, found, [patch], True))
        drawn = np.zeros(image.shape[1:], dtype=bool)
        drawn[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        expected = whole[:: block[0], :: block[1]][: drawn.shape[0], : drawn.shape[1]]
        np.testing.assert_array_equal(drawn, expected)


def test_the_command_evaluates(scenes: Path, tmp_path: Path) -> None:
    options = ("--weights", scenes, "--data", scenes, "--out", tmp_path / "r.json", "--metrics", tmp_path / "m.json")
    result = invoke("evaluate", *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert "Average precision on 4 images" in result.stdout
    dataset = validation_set(scenes)
    model, _ = load_model(scenes)
    rows, images = predict(model, dataset)
    assert json.loads((tmp_path / "r.json").read_text()) == rows
    assert len(rows) == 20
    expected = {"images": 4, **{kind: average_precision(dataset, rows, kind, images) for kind in ("box", "mask")}}
    assert json.loads((tmp_path / "m.json").read_text()) == expected
    for name, wrong in (("--weights", tmp_path), ("--data", tmp_path), ("--pooler", "none"), ("--device", "tpu")):
        result = invoke("evaluate", *options, name, wrong)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: "), name
        assert result.exception is None or isinstance(result.exception, SystemExit)
    annotations = scenes / "val/annotations.json"
    before = annotations.read_bytes()
    for name, wrong in (("--out", annotations), ("--metrics", tmp_path / "r.json")):
        result = invoke("evaluate", *options, name, wrong)
        assert (result.exit_code, f"{wrong.name} is also an input, and would be overwritten" in result.stderr) == (
            2,
            True,
        ), name
    assert annotations.read_bytes() == before


def test_the_command_detects_what_it_can(scenes: Path, tmp_path: Path) -> None:
    good = scenes / "val/images/000001.png"
    options = ("--weights", scenes, "--out", tmp_path / "o", "--score-threshold", 0)
    result = invoke("detect", tmp_path / "none.png", good, *options)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'none.png'}: cannot be read as an image")
    assert result.stderr.endswith("1 problem\n")
    assert "5 objects in 1 image" in result.stdout
    assert (tmp_path / "o/000001-detections.png").is_file()
    assert invoke("detect", good, *options).exit_code == 0
    result = invoke("detect", good, *options, "--weights", tmp_path / "none")
    assert (result.exit_code, result.stderr[:7]) == (1, "error: ")
    result = invoke("detect", good, *options, "--out", good)
    assert result.exit_code == 2
    assert "is a file; expected a folder" in result.stderr


def test_detections_are_kept_if_their_picture_fails(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / f"{240 * 'a'}.png"
    shutil.copy(scenes / "val/images/000001.png", long)
    options = ("--weights", scenes, "--out", tmp_path / "o", "--score-threshold", 0)
    result = invoke("detect", long, *options)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'o' / long.stem}-detections.png: cannot be written: File name")
    assert "5 objects in 1 image" in result.stdout
    content = json.loads((tmp_path / "o/detections.json").read_text())
    assert [row["file_name"] for row in content["images"]] == [str(long)]
    assert len(content["annotations"]) == 5
    monkeypatch.setattr(detecting, "_drawn_masks", lambda _: [][0])
    problems = Problems()
    (found,) = detect_images(*load_model(scenes), [long], tmp_path / "o", problems, score_threshold=0.0)
    assert (found.count, found.picture) == (5, None)
    assert [one.partition("png: ")[2] for one in map(str, problems)] == ["drawing failed: list index out of range"]


def test_a_detector_without_masks_has_boxes_only(scenes: Path, tmp_path: Path) -> None:
    settings = DetectorSettings.of({**SETTINGS.to_dict(), "model": "cascade-rcnn"})
    torch.manual_seed(0)
    save_model(tmp_path / MODEL_FILE, settings.build(), settings)
    result = invoke("evaluate", "--weights", tmp_path, "--data", scenes, "--metrics", tmp_path / "m.json")
    assert result.exit_code == 0, result.output
    assert set(json.loads((tmp_path / "m.json").read_text())) == {"images", "box"}
    image = scenes / "val/images/000001.png"
    result = invoke("detect", image, "--weights", tmp_path, "--out", tmp_path, "--score-threshold", 0)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "detections.json").read_text())["annotations"]
    assert len(rows) == 5
    assert all(row["area"] == row["bbox"][2] * row["bbox"][3] and "segmentation" not in row for row in rows)


def test_without_timm_its_backbones_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs timm, .*not installed: pip install 'timm>=1.0'"):
        TimmBackbone("resnet10t")


def test_the_command_says_so_in_one_line(scenes: Path, tmp_path: Path) -> None:
    content = torch.load(scenes / MODEL_FILE, weights_only=True)
    content["settings"]["backbone"] = "timm:resnet10t"
    torch.save(content, tmp_path / "w.pt")
    script = "import sys; sys.modules['timm'] = None; import roialign.cli; roialign.cli.main()"
    arguments = ["detect", str(scenes / "val/images/000001.png"), "--weights", str(tmp_path / "w.pt"), "--out", "o"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    line = "error: a backbone of timm needs timm, which is not installed: pip install 'timm>=1.0'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
