"""Faster, Mask, Cascade and Oriented R-CNN: losses and detections, hard images, torchvision's weights."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from roialign.detection import (
    FrozenBatchNorm2d,
    ProposalSettings,
    PyramidBackbone,
    RoISettings,
    SingleBackbone,
    TwoStageDetector,
    build_detector,
    cascade_rcnn,
    faster_rcnn,
    make_pooler,
    mask_rcnn,
    oriented_rcnn,
)
from roialign.detection.rotated_boxes import from_upright, hulls
from roialign.detection.transform import Transform, paste_masks
from tests.tables.paths import DATA

MODELS = {
    "faster": faster_rcnn,
    "mask": mask_rcnn,
    "cascade": cascade_rcnn,
    "cascade with masks": partial(cascade_rcnn, masks=True),
    "oriented": oriented_rcnn,
    "oriented cascade": partial(oriented_rcnn, cascade=True),
}
BOX_LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
CASCADE_LOSSES = BOX_LOSSES | {f"{name}_{stage}" for name in ("loss_classifier", "loss_box_reg") for stage in (2, 3)}
LOSSES = {
    "faster": BOX_LOSSES,
    "mask": BOX_LOSSES | {"loss_mask"},
    "cascade": CASCADE_LOSSES,
    "cascade with masks": CASCADE_LOSSES | {"loss_mask"},
    "oriented": BOX_LOSSES,
    "oriented cascade": CASCADE_LOSSES,
}
HEIGHT, WIDTH = 96, 80


def _small(name: str, **more: Any) -> TwoStageDetector:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "backbone": PyramidBackbone(18, width=4, out_channels=8),
        "hidden": 16,
        "mask_hidden": 4,
        "min_size": 96,
        "proposal_settings": ProposalSettings(before_nms=(50, 50), after_nms=(40, 40)),
        "roi_settings": RoISettings(sample_size=32, score_threshold=0.01, detections=7),
    }
    return MODELS[name](4, **{**options, **more})


def _target(boxes: list[list[float]]) -> dict[str, Tensor]:
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[int(top) : int(bottom), int(left) : int(right)] = 1
    upright = torch.tensor(boxes).reshape(-1, 4)
    return {
        "boxes": upright,
        "rotated_boxes": from_upright(upright),
        "labels": torch.arange(len(boxes)) % 3 + 1,
        "masks": masks,
    }


OBJECTS: dict[str, list[list[list[float]]]] = {
    "objects": [[[5, 8, 60, 70]], [[20, 20, 50, 40], [0, 50, 30, 90]]],
    "no objects in one image": [[], [[20, 20, 50, 40]]],
    "no objects at all": [[], []],
    "one pixel": [[[40, 40, 41, 41]], [[0, 0, 1, 1], [79, 95, 80, 96]]],
    "at the edge": [[[0, 0, 80, 96]], [[70, 0, 80, 10], [0, 95, 80, 96]]],
}


@pytest.mark.parametrize("objects", OBJECTS)
@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_finite(name: str, objects: str) -> None:
    model = _small(name)
    losses = model([torch.rand(3, HEIGHT, WIDTH)] * 2, [_target(boxes) for boxes in OBJECTS[objects]])
    assert set(losses) == LOSSES[name]
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    if objects == "objects":
        assert all(loss > 0 for key, loss in losses.items() if key not in CASCADE_LOSSES - BOX_LOSSES)
    if objects == "no objects at all":
        assert all(loss == 0 for key, loss in losses.items() if "box_reg" in key or "mask" in key)


@pytest.mark.parametrize("name", MODELS)
def test_detections_have_their_shapes(name: str) -> None:
    model = _small(name).eval()
    images = [torch.rand(3, HEIGHT, WIDTH), torch.rand(3, 50, 120)]
    with torch.no_grad():
        found = model(images)
    for image, of_image in zip(images, found, strict=True):
        count = len(of_image["boxes"])
        assert 0 < count <= 7
        more = {"masks"} if "mask" in name else {"rotated_boxes"} if "oriented" in name else set()
        assert set(of_image) == {"boxes", "scores", "labels"} | more
        height, width = image.shape[-2:]
        points = of_image["rotated_boxes"][:, :2] if "oriented" in name else of_image["boxes"].reshape(-1, 2)
        assert (points >= 0).all()
        assert (points <= torch.tensor([width, height]) + 1e-4).all()
        assert (of_image["scores"].diff() <= 0).all()
        assert of_image["labels"].min() >= 1
        assert of_image["labels"].max() <= 3
        if "mask" in name:
            assert of_image["masks"].shape == (count, 1, height, width)
            assert 0 <= of_image["masks"].min() <= of_image["masks"].max() <= 1
        if "oriented" in name:
            torch.testing.assert_close(of_image["boxes"], hulls(of_image["rotated_boxes"]))


@pytest.mark.parametrize("name", MODELS)
def test_without_proposals_there_are_no_detections(name: str) -> None:
    model = _small(name, proposal_settings=ProposalSettings(score_threshold=2.0)).eval()
    with torch.no_grad():
        found = model([torch.rand(3, HEIGHT, WIDTH)])[0]
    assert found["boxes"].shape == (0, 4)
    assert found["labels"].shape == (0,)
    assert found.get("rotated_boxes", torch.zeros(0, 5)).shape == (0, 5)
    if "mask" in name:
        assert found["masks"].shape == (0, 1, HEIGHT, WIDTH)
    losses = model.train()([torch.rand(3, HEIGHT, WIDTH)] * 2, [_target([])] * 2)
    assert all(loss.isfinite() for loss in losses.values())


BACKBONES = {
    "C4": ((4, 16), (256, 6, 5)),
    "C5 of stride 32": ((5, 32), (512, 3, 3)),
    "C5 of stride 16": ((5, 16), (512, 6, 5)),
}


@pytest.mark.parametrize("which", BACKBONES)
def test_single_maps(which: str) -> None:
    (level, stride), (channels, height, width) = BACKBONES[which]
    backbone = SingleBackbone(18, width=8, level=level, stride=stride)
    assert backbone.out_channels == channels // 8
    assert [tuple(features.shape) for features in backbone(torch.rand(2, 3, HEIGHT, WIDTH))] == [
        (2, channels // 8, height, width)
    ]
    model = _small("faster", backbone=backbone)
    losses = model([torch.rand(3, HEIGHT, WIDTH)] * 2, [_target(boxes) for boxes in OBJECTS["objects"]])
    assert all(loss.isfinite() for loss in losses.values())


def test_a_pyramid_has_five_maps() -> None:
    maps = PyramidBackbone(50, width=4, out_channels=6)(torch.rand(1, 3, 64, 96))
    assert [tuple(features.shape) for features in maps] == [
        (1, 6, 64 // stride, max(96 // stride, 2) if stride == 64 else 96 // stride) for stride in (4, 8, 16, 32, 64)
    ]


def test_a_pooler_may_be_a_function() -> None:
    made: list[tuple[int, list[float]]] = []

    def pooler(output_size: int, scales: Any) -> torch.nn.Module:
        made.append((output_size, list(scales)))
        return make_pooler("align", output_size, [round(1 / scale) for scale in scales], 8)

    _small("mask", pooler=pooler)
    assert made == [(7, [1 / 4, 1 / 8, 1 / 16, 1 / 32]), (14, [1 / 4, 1 / 8, 1 / 16, 1 / 32])]
    with pytest.raises(ValueError, match=r"pooler: expected one of exact, align, .* got 'none'"):
        _small("mask", pooler="none")


def _torchvision_weights(which: str) -> dict[str, Tensor]:
    """Weights of torchvision's names and shapes, each with numbers of its own."""
    data = json.loads((DATA / "torchvision_detectors.json").read_text())
    rows = data["faster"] + (data["mask"] if which == "mask" else [])
    return {name: torch.full(shape, float(number)) for number, (name, shape) in enumerate(rows)}


def _old_name(name: str) -> str:
    """The name in the published files."""
    name = re.sub(r"^rpn\.head\.conv\.0\.0\.", "rpn.head.conv.", name)
    name = re.sub(r"_blocks\.(\d)\.0\.", r"_blocks.\1.", name)
    return re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", name)


@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("which", ["faster", "mask"])
def test_torchvision_weights_load_strictly(which: str, layout: str) -> None:
    weights = _torchvision_weights(which)
    if layout == "old":
        weights = {_old_name(name): value for name, value in weights.items() if "num_batches" not in name}
        assert {"rpn.head.conv.weight", "backbone.fpn.inner_blocks.0.weight"} <= set(weights)
    with torch.device("meta"):  # without memory for the weights that are replaced
        model = MODELS[which](91)
    model.load_state_dict(weights, strict=True, assign=True)
    prefix = "rpn.head.conv." if layout == "old" else "rpn.head.conv.0.0."
    assert torch.equal(model.rpn.head.conv[0][0].bias, weights[prefix + "bias"])
    assert torch.equal(model.roi_heads.stages[0].box_head.fc7.bias, weights["roi_heads.box_head.fc7.bias"])
    if which == "mask":
        prefix = "roi_heads.mask_head.mask_fcn3." if layout == "old" else "roi_heads.mask_head.2.0."
        assert torch.equal(model.roi_heads.mask_branch.mask_head[2][0].bias, weights[prefix + "bias"])
    del weights["roi_heads.box_head.fc7.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "roi_heads.stages.0.box_head.fc7.bias"'):
        model.load_state_dict(weights, assign=True)


def test_its_own_weights_load_too() -> None:
    model, other = _small("cascade with masks"), _small("cascade with masks")
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(model.state_dict())
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_frozen_batch_normalisation_stays() -> None:
    norm = FrozenBatchNorm2d(3, eps=0.0).train()
    features = torch.rand(2, 3, 4, 4)
    assert torch.equal(norm(features), features)
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert not any(parameter.requires_grad for parameter in norm.parameters())
    model = _small("faster", backbone=PyramidBackbone(18, width=4, out_channels=8, norm=FrozenBatchNorm2d))
    assert not model.train().backbone.body.bn1.training


def test_images_become_a_batch_and_boxes_come_back() -> None:
    transform = Transform(64, 100)
    batch, sizes = transform.batch([torch.zeros(3, 32, 40), torch.ones(3, 20, 60)])
    assert sizes == [(64, 80), (33, 100)]
    assert batch.shape == (2, 3, 64, 128)
    assert (batch[0, :, 64:] == 0).all()
    assert (batch[1, :, 33:] == 0).all()
    target = {"boxes": torch.tensor([[1.0, 2, 11, 12]]), "labels": torch.tensor([1])}
    moved = transform.target(target, (32, 40), (64, 80))
    assert moved["boxes"].tolist() == [[2, 4, 22, 24]]
    assert transform.restore(moved, (32, 40), (64, 80))["boxes"].tolist() == [[1, 2, 11, 12]]


def test_masks_are_pasted_where_their_boxes_are() -> None:
    boxes = torch.tensor([[10.0, 20, 38, 48], [-20.0, -20, 8, 8], [90.0, 90, 90.5, 90.5]])
    pasted = paste_masks(torch.ones(3, 28, 28), boxes, (60, 50))[:, 0]
    assert pasted.shape == (3, 60, 50)
    rows, columns = (pasted[0] > 0.5).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 48, 10, 38)  # both ends count
    assert (pasted[1, :8, :8] > 0.5).all()
    assert pasted[1, 10:].sum() == 0
    assert pasted[2].sum() == 0


def test_a_batch_is_a_list_of_images() -> None:
    model = _small("faster").eval()
    batch = torch.rand(2, 3, 96, 80)
    for found, expected in zip(model(batch), model(list(batch)), strict=True):
        assert torch.equal(found["boxes"], expected["boxes"])


@pytest.mark.parametrize("name", ["min_size", "max_size", "hidden", "mask_hidden"])
def test_sizes_are_whole_numbers_of_at_least_1(name: str) -> None:
    for value, kind in ((0, ValueError), (-3, ValueError), ((64, 96), TypeError), (float("nan"), TypeError)):
        with pytest.raises(kind, match=f"{name}: expected a"):
            build_detector(3, **{name: value})  # type: ignore[arg-type]


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="num_classes: expected at least 2"):
        build_detector(1)
    with pytest.raises(ValueError, match="anchor_sizes: expected 5, one per map, got 1"):
        _small("faster", anchor_sizes=[[8]])
    with pytest.raises(ValueError, match="depth, last_stride: expected 18 or 50"):
        PyramidBackbone(34)
    with pytest.raises(ValueError, match=r"level, stride: expected \(4, 16\), \(5, 16\) or \(5, 32\)"):
        SingleBackbone(level=4, stride=8)


class OnlyItems:
    """A sequence with the two methods that a DataLoader needs."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def test_sequences_of_a_class_of_its_own() -> None:
    model = faster_rcnn(3, min_size=64, max_size=128, anchor_sizes=OnlyItems([[32], [64], [128], [256], [512]]))  # type: ignore[arg-type]
    images = OnlyItems([torch.rand(3, 64, 64)])
    target = {"boxes": torch.tensor([[4.0, 4.0, 30.0, 30.0]]), "labels": torch.tensor([1])}
    assert all(loss.isfinite() for loss in model(images, OnlyItems([target])).values())
