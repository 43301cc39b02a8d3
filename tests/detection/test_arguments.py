"""Arguments of training, evaluation and patches that are something else, and models of other dtypes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from roialign.detection import (
    CocoDataset,
    DatasetError,
    DetectorSettings,
    ExportableDetector,
    PatchSettings,
    ProposalSettings,
    RoISettings,
    SceneSettings,
    TrainSettings,
    TwoStageDetector,
    Validation,
    cut_into_patches,
    detect_in_patches,
    draw_scene,
    evaluate_model,
    export_onnx,
    export_program,
    load_model,
    new_detector,
    open_split,
    save_model,
    train,
    write_scenes,
)
from tests.detection.detectors import SETTINGS, write_small_scenes

PATCHES = PatchSettings(64, 16)
TRAINING = TrainSettings(SETTINGS, iterations=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    folder = tmp_path_factory.mktemp("scenes")
    write_small_scenes(folder, 2)
    return CocoDataset(folder / "val/annotations.json", folder / "val/images")


@pytest.fixture(scope="module")
def detector() -> TwoStageDetector:
    torch.manual_seed(0)
    return SETTINGS.build().eval()


WRONG: dict[str, tuple[Callable[[Any, Any, Path], object], str]] = {
    "train: a subset": (
        lambda _, data, run: train(Subset(data, [0]), run, TRAINING),
        "dataset: .*CocoDataset, got Subset",
    ),  # type: ignore[arg-type]
    "train: a detector": (
        lambda _, data, run: train(data, run, SETTINGS),
        "settings: .*TrainSettings, got DetectorSettings",
    ),  # type: ignore[arg-type]
    "new_detector": (lambda _, data, __: new_detector(list(data)), "dataset: .*CocoDataset, got list"),  # type: ignore[arg-type]
    "evaluate: a pair": (
        lambda model, data, _: evaluate_model((model, 1), data),
        "model: .*TwoStageDetector, got tuple",
    ),  # type: ignore[arg-type]
    "evaluate: a wrapper": (
        lambda model, data, _: evaluate_model(nn.DataParallel(model), data),  # type: ignore[arg-type]
        "model: .*TwoStageDetector, got DataParallel; pass the model within the DataParallel",
    ),
    "evaluate: a list": (lambda model, data, _: evaluate_model(model, [data[0]]), "dataset: .*CocoDataset, got list"),  # type: ignore[arg-type]
    "evaluate: patches": (
        lambda model, data, _: evaluate_model(model, data, patches=64),
        "patches: .*PatchSettings, got int",
    ),  # type: ignore[arg-type]
    "patches: a tensor": (
        lambda model, *_: detect_in_patches(model, torch.rand(3, 96, 96), PATCHES),  # type: ignore[arg-type]
        "image: expected the path of an image, got Tensor",
    ),
    "patches: a number": (
        lambda model, data, _: detect_in_patches(model, data.path(0), 64),
        "settings: .*PatchSettings, got int",
    ),  # type: ignore[arg-type]
    "exported: none": (lambda *_: ExportableDetector(None), "detector: expected a TwoStageDetector, got NoneType"),  # type: ignore[arg-type]
    "onnx: none": (lambda _, __, run: export_onnx(None, run), "detector: expected a TwoStageDetector, got NoneType"),  # type: ignore[arg-type]
    "program: none": (lambda *_: export_program(None), "detector: expected a TwoStageDetector, got NoneType"),  # type: ignore[arg-type]
    "saved: settings": (
        lambda _, __, run: save_model(run, SETTINGS, SETTINGS),
        "model: .*Module, got DetectorSettings",
    ),  # type: ignore[arg-type]
    "saved: none": (lambda model, _, run: save_model(run, model, None), "settings: .* DetectorSettings, got NoneType"),  # type: ignore[arg-type]
    "cut: a number": (lambda _, data, __: cut_into_patches(data, 64), "settings: .*PatchSettings, got int"),  # type: ignore[arg-type]
    "cut: a subset": (
        lambda _, data, __: cut_into_patches(Subset(data, [0]), PATCHES),
        "dataset: .*CocoDataset, got Subset",
    ),  # type: ignore[arg-type]
    "scene: none": (lambda *_: draw_scene(None, "train", 0), "settings: .* SceneSettings, got NoneType"),  # type: ignore[arg-type]
    "scene: no split": (lambda *_: draw_scene(SceneSettings(), None, 0), "split: .* str, got NoneType"),  # type: ignore[arg-type]
    "scenes: none": (lambda *_: write_scenes(None, {}, SceneSettings()), "folder: expected a path, got None"),  # type: ignore[arg-type]
    "scenes: a list": (
        lambda _, __, run: write_scenes(run, ["train"], SceneSettings()),
        "counts: .* Mapping, got list",
    ),  # type: ignore[arg-type]
    "scenes: half a scene": (
        lambda _, __, run: write_scenes(run, {"train": 0.5}, SceneSettings()),  # type: ignore[dict-item]
        r"counts\['train'\]: expected an int, got 0.5",
    ),
    "split: no folder": (lambda *_: open_split(None, "train"), "folder: expected a path, got None"),  # type: ignore[arg-type]
    "split: no name": (lambda _, __, run: open_split(run, None), "split: .* str, got NoneType"),  # type: ignore[arg-type]
    "loaded: none": (lambda *_: load_model(None), "path: expected a path, got None"),  # type: ignore[arg-type]
    "dataset: none": (lambda *_: CocoDataset(None, "images"), "annotations: expected a path, got None"),  # type: ignore[arg-type]
    "dataset: a list": (lambda _, __, run: CocoDataset(run, ["a"]), r"images: expected a path, got \['a'\]"),  # type: ignore[arg-type]
    "train: no folder": (lambda _, data, __: train(data, None, TRAINING), "run: expected a path, got None"),  # type: ignore[arg-type]
    "onnx: no path": (lambda model, *_: export_onnx(model, None), "path: expected a path, got None"),  # type: ignore[arg-type]
    "saved: no path": (lambda model, *_: save_model(None, model, SETTINGS), "path: expected a path, got None"),  # type: ignore[arg-type]
    "exported: no image": (
        lambda model, *_: ExportableDetector(model)(None),
        "image: expected a torch.Tensor, got builtins.NoneType",
    ),
    "train: text for a number": (
        lambda _, data, run: train(data, run, TRAINING, save_every="3"),  # type: ignore[arg-type]
        "save_every: expected an int, got '3'",
    ),
    "train: half a worker": (
        lambda _, data, run: train(data, run, TRAINING, workers=0.5),  # type: ignore[arg-type]
        "workers: expected an int, got 0.5",
    ),
    "train: a set to measure on": (
        lambda _, data, run: train(data, run, TRAINING, validation=data),
        "validation: .*Validation, got CocoDataset",
    ),
    "validation: text": (lambda _, data, __: Validation(data, "3"), "every: expected an int, got '3'"),  # type: ignore[arg-type]
    "validation: a list": (lambda _, data, __: Validation([data[0]]), "dataset: .*CocoDataset, got list"),  # type: ignore[arg-type]
    "proposals: a number": (
        lambda *_: ProposalSettings(before_nms=100),  # type: ignore[arg-type]
        r"before_nms: expected a pair \(training, detection\), got 100",
    ),
    "proposals: a half": (
        lambda *_: ProposalSettings(after_nms=(2000, 0.5)),  # type: ignore[arg-type]
        r"after_nms\[1\]: expected an int, got 0.5",
    ),
    "regions: text": (lambda *_: RoISettings(score_threshold="0"), "score_threshold: expected a number, got '0'"),  # type: ignore[arg-type]
    "scenes: one number": (
        lambda *_: SceneSettings(objects=5),  # type: ignore[arg-type]
        r"objects: expected a pair \(minimum, maximum\), got 5",
    ),
    "settings: a name": (lambda *_: TrainSettings("mask-rcnn"), "detector: .*DetectorSettings, got str"),  # type: ignore[arg-type]
    "settings: half a batch": (lambda *_: replace(TRAINING, batch_size=2.5), "batch_size: expected an int, got 2.5"),  # type: ignore[arg-type]
    "settings: a rate": (
        lambda *_: replace(TRAINING, learning_rate="fast"),
        "learning_rate: expected a number, got 'fast'",
    ),  # type: ignore[arg-type]
    "settings: a patch": (lambda *_: replace(TRAINING, patch_size="x"), "^patch_size: expected an int, got 'x'"),  # type: ignore[arg-type]
    "settings: none": (lambda *_: replace(TRAINING, clip=None), "clip: expected a number, got None"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str, dataset: CocoDataset, detector: TwoStageDetector, tmp_path: Path) -> None:
    call, message = WRONG[case]
    with pytest.raises(TypeError, match=message):
        call(detector, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("image", [torch.rand(3, 64, 96), torch.rand(2, 3, 64, 96), torch.ones(1, 3, 64, 96).byte()])
def test_the_image_of_an_exported_detector_is_checked(image: torch.Tensor, detector: TwoStageDetector) -> None:
    with pytest.raises(ValueError, match=r"^image: expected a float tensor \[1, 3, H, W\], got \("):
        ExportableDetector(detector)(image)


def test_a_split_in_a_folder_that_is_given_as_text() -> None:
    with pytest.raises(DatasetError, match=r"^nowhere: no such folder$"):
        open_split("nowhere", "train")


def test_a_batch_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=f"^batch_size: expected at most {2**20}, got {2**40}$"):
        replace(TRAINING, batch_size=2**40)


WRONG_VALUES: dict[str, tuple[Callable[[], object], str]] = {
    "one of two": (lambda: ProposalSettings(before_nms=(100,)), r"before_nms: expected a pair .*, got \(100,\)"),  # type: ignore[arg-type]
    "no proposals": (lambda: ProposalSettings(after_nms=(1, 0)), r"after_nms\[1\]: expected at least 1, got 0"),
    "a threshold": (lambda: RoISettings(nms_threshold=7), "nms_threshold: expected a number from 0 to 1, got 7"),
    "detections": (lambda: RoISettings(detections=-1), "detections: expected at least 1, got -1"),
    "a side": (lambda: RoISettings(smallest_side=-1), "smallest_side: expected a number of at least 0, got -1"),
    "no gap": (
        lambda: ProposalSettings(background_below=0.8),
        "background_below: expected at most object_from, 0.7, got 0.8",
    ),
    "the wrong order": (
        lambda: SceneSettings(objects=(5, 2)),
        r"objects: expected a minimum of at most the maximum, got \(5, 2\)",
    ),
    "no size": (lambda: SceneSettings(object_size=(0, 2)), r"object_size\[0\]: expected at least 1, got 0"),
    "no image": (lambda: SceneSettings(image_size=0), "image_size: expected at least 1, got 0"),
    "a negative seed": (lambda: SceneSettings(seed=-1), "seed: expected at least 0, got -1"),
    "a ratio": (
        lambda: SceneSettings(aspect_ratios=(0.5, 2)),
        r"aspect_ratios\[0\]: expected a number of at least 1, got 0.5",
    ),
    "in a detector": (
        lambda: replace(SETTINGS, regions={"nms_threshold": 7}),
        "regions: nms_threshold: expected a number from 0 to 1, got 7",
    ),
    "an unknown name": (lambda: replace(SETTINGS, proposals={"after": 7}), "proposals: expected names .*, got 'after'"),
    "an anchor": (
        lambda: replace(SETTINGS, anchor_sizes=((0,),)),
        r"anchor_sizes\[0\]\[0\]: expected a positive number, got 0",
    ),
    "patches": (
        lambda: replace(TRAINING, patch_size=64, patch_overlap=64),
        "patch_overlap: expected less than 64, the size of a patch, got 64",
    ),
    "a decay": (lambda: replace(TRAINING, weight_decay=-1), "weight_decay: expected a number of at least 0, got -1"),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_a_value_out_of_range_is_named(case: str) -> None:
    make, message = WRONG_VALUES[case]
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


def test_settings_of_numpy_numbers_are_plain_numbers() -> None:
    settings = replace(TRAINING, iterations=np.int64(3), learning_rate=np.float32(0.5))  # type: ignore[arg-type]
    assert (type(settings.iterations), type(settings.learning_rate)) == (int, float)
    detector = replace(SETTINGS, hidden=np.int64(16), regions={"detections": np.int64(5)})  # type: ignore[arg-type]
    assert (type(detector.hidden), type(detector.regions["detections"])) == (int, int)
    assert detector == DetectorSettings.of(json.loads(json.dumps(detector.to_dict())))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_any_dtype_is_evaluated(dtype: torch.dtype, dataset: CocoDataset) -> None:
    model = SETTINGS.build().to(dtype).eval()
    assert evaluate_model(model, dataset)["images"] == len(dataset)
    found, _ = detect_in_patches(model, dataset.path(0), PATCHES)
    assert len(found["boxes"])


def test_no_patch_keeps_a_graph(detector: TwoStageDetector, dataset: CocoDataset) -> None:
    found, _ = detect_in_patches(detector, dataset.path(0), PATCHES)
    assert len(found["boxes"])
    assert not any(values.requires_grad for values in found.values())


def test_patches_need_a_model_in_evaluation_mode(dataset: CocoDataset) -> None:
    with pytest.raises(ValueError, match=r"model: expected a model in evaluation mode.* call model.eval\(\)"):
        detect_in_patches(SETTINGS.build().train(), dataset.path(0), PATCHES)
