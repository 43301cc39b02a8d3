"""A whole detector exported: as a program and as an ONNX model, its valid rows are what the detector finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from roialign.commands.app import app
from roialign.detection import ExportableDetector, TwoStageDetector, export_onnx, load_model, save_model
from roialign.detection.boxes import batched_nms, padded_nms
from roialign.detection.exporting import Detections, save_program
from roialign.detection.rotated_boxes import hulls
from tests.detection.detectors import SETTINGS

SIZES = [(96, 150), (130, 96)]
NAMES = Detections._fields
#: By how much the scores of classes are spread, in a detector that has learnt nothing.
SHARPER = 2
#: Padded proposals change the number of rows of matrix products, and on some CPUs the last bits of all rows.
ROUNDING = 1e-5

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxscript"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:copyreg"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


def detector_of(kind: str, pooler: str) -> TwoStageDetector:
    """With weights that tell classes and places apart: no two scores are nearly equal."""
    torch.manual_seed(0)
    settings = replace(SETTINGS, model=kind, pooler=pooler, regions={"score_threshold": 0.05, "detections": 8})
    model = settings.build().eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "rpn.head" in name and "weight" in name:
                weights.normal_(std=0.2)
            if "cls_score" in name:
                weights.mul_(SHARPER)
                weights[0] = -3 if weights.ndim == 1 else 0  # everything is an object
    return model


def check(model: TwoStageDetector, run: Callable[[Tensor], list[Any]], tolerance: float) -> None:
    """On images of two sizes: as many rows, the same labels, and numbers within a tolerance."""
    for size in SIZES:
        image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
        expected = _found(model, image)
        answers = {name: torch.as_tensor(one) for name, one in zip(NAMES, run(image), strict=False) if one is not None}
        assert answers.keys() == {*expected, "valid"}
        assert answers["boxes"].shape[0] == model.roi_heads.settings.detections
        valid = answers["valid"]
        assert 0 < int(valid.sum()) == len(expected["boxes"])
        assert torch.equal(answers["labels"][valid], expected["labels"])
        # Masks are pooled at boxes that have differences of their own.
        for name, scale in (("boxes", max(size)), ("rotated_boxes", max(size)), ("scores", 1), ("masks", 4)):
            if name in answers:
                torch.testing.assert_close(answers[name][valid], expected[name], rtol=0, atol=tolerance * scale)


@torch.no_grad()
def _found(model: TwoStageDetector, image: Tensor) -> dict[str, Tensor]:
    """What the detector finds before its answer is moved back to the image, which here has that size already."""
    model.transform.min_size, model.transform.max_size = min(image.shape[2:]), 10**6
    batch, sizes = model.transform.batch([image[0]])
    maps = model.backbone(batch)
    proposals, _ = model.rpn(maps, (batch.shape[2], batch.shape[3]), sizes)
    (found,) = model.roi_heads.detect(maps[: model.backbone.pooled_levels], sizes, proposals)
    return found


@pytest.mark.parametrize(
    ("kind", "pooler"),
    [
        ("faster-rcnn", "exact"),
        ("mask-rcnn", "exact"),
        ("cascade-mask-rcnn", "exact"),
        ("oriented-rcnn", "rotated"),
        ("oriented-rcnn", "exact"),
    ],
)
def test_in_eager_mode(kind: str, pooler: str) -> None:
    model = detector_of(kind, pooler)
    check(model, torch.no_grad()(ExportableDetector(model)), ROUNDING)


def in_onnxruntime(path: Path) -> Callable[[Tensor], list[Any]]:
    session = onnxruntime.InferenceSession(path)
    return lambda image: session.run(None, {"image": image.numpy()})  # type: ignore[no-any-return]


def in_openvino(path: Path) -> Callable[[Tensor], list[Any]]:
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: [model({"image": image.numpy()})[index] for index in range(len(model.outputs))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pooler"),
    [("faster-rcnn", "pool"), ("mask-rcnn", "exact"), ("cascade-mask-rcnn", "align")],
)
def test_as_an_onnx_model(kind: str, pooler: str, tmp_path: Path) -> None:
    model, path = detector_of(kind, pooler), tmp_path / "model.onnx"
    export_onnx(model, path)
    proto = onnx.load(path)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    assert sum(node.op_type == "NonMaxSuppression" for node in proto.graph.node) == 2
    assert [output.name for output in proto.graph.output] == list(NAMES[: 5 if "mask" in kind else 4])
    check(model, in_onnxruntime(path), 3e-4)
    check(model, in_openvino(path), 1e-3)  # its convolutions round otherwise


def test_a_detector_of_rotated_boxes_is_no_onnx_model(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"ONNX has no suppression of rotated boxes, so export a torch\.export program"
    ):
        export_onnx(detector_of("oriented-rcnn", "rotated"), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def checked_program(path: Path, model: TwoStageDetector, operator: str) -> Callable[[Tensor], Any]:
    """A program with suppression and pooling as operators of this package, which answers as the model."""
    program = torch.export.load(path)
    names = {str(node.target) for node in program.graph.nodes}
    assert {"roialign.padded_nms.default", f"roialign.{operator}.default"} <= names
    run = torch.no_grad()(program.module())
    check(model, run, ROUNDING)
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pooler", "operator"),
    [
        ("cascade-mask-rcnn", "exact", "separable_forward"),
        ("oriented-rcnn", "rotated", "pointwise_forward"),
    ],
)
def test_as_a_program(kind: str, pooler: str, operator: str, tmp_path: Path) -> None:
    save_model(tmp_path / "weights.pt", detector_of(kind, pooler), replace(SETTINGS, model=kind, pooler=pooler))
    model, _ = load_model(tmp_path / "weights.pt")
    save_program(model, tmp_path / "model.pt2")
    checked_program(tmp_path / "model.pt2", model, operator)


def test_suppression_in_a_shape_that_is_fixed() -> None:
    generator = np.random.default_rng(0)
    corners = torch.from_numpy(generator.uniform(0, 50, (40, 2)))
    boxes = torch.cat([corners, corners + 20], 1).float()
    scores, groups = torch.from_numpy(generator.permutation(40) / 40).float(), torch.arange(40) % 3
    scores[::5] = -torch.inf
    rest = torch.where(scores > -torch.inf)[0]
    kept = rest[batched_nms(boxes[rest], scores[rest], groups[rest], 0.3)]
    assert 3 < len(kept) < 30
    assert padded_nms(boxes, scores, groups, 0.3, 3).tolist() == kept[:3].tolist()
    assert padded_nms(boxes, scores, groups, 0.3, 50).tolist() == [*kept.tolist(), *[-1] * (50 - len(kept))]
    torch.library.opcheck(padded_nms, (boxes, scores, groups, 0.3, 10))


def test_suppression_of_rotated_boxes_in_a_shape_that_is_fixed() -> None:
    """A cross, whose arms have the same hull but little in common, and one arm moved along its length."""
    arms = torch.tensor([[50.0, 50, 60, 6, 0.785], [50.0, 50, 60, 6, -0.785], [54.0, 54, 60, 6, 0.785]])
    scores, groups = torch.tensor([0.7, 0.8, 0.9]), torch.zeros(3, dtype=torch.int64)
    assert padded_nms(arms, scores, groups, 0.3, 4).tolist() == [2, 1, -1, -1]
    assert padded_nms(hulls(arms), scores, groups, 0.3, 4).tolist() == [2, -1, -1, -1]
    assert padded_nms(arms, scores, torch.tensor([0, 0, 1]), 0.3, 4).tolist() == [2, 1, 0, -1]
    torch.library.opcheck(padded_nms, (arms, scores, groups, 0.3, 4))


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    """Which exports a Faster R-CNN as a program."""
    save_model(tmp_path / "model.pt", detector_of("faster-rcnn", "exact"), replace(SETTINGS, model="faster-rcnn"))
    out = tmp_path / "model.pt2"
    result = CliRunner().invoke(app, ["export", "--weights", str(tmp_path), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "faster-rcnn, for images with a shorter side of 96 pixels" in " ".join(result.output.split())
    answer = checked_program(out, load_model(tmp_path)[0], "separable_forward")(torch.rand(1, 3, 96, 130))
    assert isinstance(answer, Detections)
    assert answer.boxes.shape == (SETTINGS.regions["detections"], 4)
    wrong = CliRunner().invoke(app, ["export", "--weights", str(tmp_path), "--out", str(tmp_path / "model.pth")])
    assert wrong.exit_code == 2
    assert ".onnx" in wrong.output
