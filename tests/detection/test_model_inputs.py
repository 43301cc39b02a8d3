"""What a detector says about images and targets that it cannot use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from roialign import RoIWarning
from roialign.detection import (
    ExportableDetector,
    PyramidBackbone,
    RoISettings,
    TwoStageDetector,
    faster_rcnn,
    mask_rcnn,
    oriented_rcnn,
)
from roialign.detection.model_inputs import warn_of_range
from tests.detection.detectors import SETTINGS
from tests.tables.tensors import stated

IMAGES = [torch.rand(3, 96, 80)]
BOX, LABEL, MASK = torch.tensor([[1.0, 1, 5, 5]]), torch.tensor([1]), torch.ones(1, 96, 80, dtype=torch.uint8)


def _target(**others: Any) -> list[dict[str, Any]]:
    return [{"boxes": BOX, "labels": LABEL, "masks": MASK, **others}]


WRONG: dict[str, tuple[list[Any], Any, str]] = {
    "no images": ([], None, "images: expected at least one, got none"),
    "none for images": (None, None, r"images: expected a list of float tensors \[3, H, W\], got NoneType"),  # type: ignore[dict-item]
    "a number for images": (
        torch.tensor(5.0),
        None,
        r"images: expected a list of float tensors \[3, H, W\], got Tensor",
    ),  # type: ignore[dict-item]
    "a number for targets": (IMAGES, 5, "targets: expected a list with one dict per image, got int"),
    "grey": ([torch.rand(1, 9, 9)], None, r"images\[0\]: expected a float tensor \[3, H, W\], got \(1, 9, 9\)"),
    "bytes": ([torch.zeros(3, 9, 9, dtype=torch.uint8)], None, r"got \(3, 9, 9\) of torch.uint8"),
    "an array": ([np.zeros((3, 9, 9))], None, r"images\[0\]: expected a torch.Tensor, got numpy.ndarray"),
    "double precision": (
        [IMAGES[0], IMAGES[0].double()],
        _target() * 2,
        r"images\[1\]: expected the dtype of the weights, torch.float32, got torch.float64",
    ),
    "no targets": (IMAGES, None, "targets: expected 1 in training mode, one per image, got none"),
    "a dict": (IMAGES, _target()[0], "targets: expected a list with one dict per image, got a dict"),
    "no dict": (IMAGES, [BOX], r"targets\[0\]: expected a dict, got Tensor"),
    "boxes of another format": (
        IMAGES,
        _target(boxes=stated(BOX, "XYWH")),
        r"targets\[0\]: boxes: expected boxes \(x1, y1, x2, y2\), .* that state the format XYWH",
    ),
    "few labels": (
        IMAGES,
        _target(labels=torch.ones(0)),
        r"targets\[0\]: expected boxes \[L, 4\] and labels \[L\], got",
    ),
    "a column of labels": (IMAGES, _target(labels=LABEL[:, None]), r"labels \[L\], got \(1, 4\) and \(1, 1\)"),
    "a list of labels": (
        IMAGES,
        _target(labels=[1]),
        r"\[0\]: labels: expected a torch.Tensor, got builtins.list",
    ),
    "an array of boxes": (
        IMAGES,
        _target(boxes=BOX.numpy()),
        r"\[0\]: boxes: expected a torch.Tensor, got numpy",
    ),
    "empty box": (IMAGES, _target(boxes=BOX[:, [0, 1, 0, 3]]), "boxes: row 0: expected finite"),
    "boxes of bools": (
        IMAGES,
        _target(boxes=BOX.bool()),
        r"targets\[0\]: boxes: expected real numbers, got torch.bool",
    ),
    "complex boxes": (IMAGES, _target(boxes=BOX.cfloat()), "boxes: expected real numbers, got torch.complex64"),
    "no labels": (IMAGES, [{"boxes": BOX}], r"expected boxes \[L, 4\] and labels \[L\], got boxes"),
    "background": (IMAGES, _target(labels=LABEL - 1), r"targets\[0\]: labels: row 0: expected 1 to 10, got 0"),
    "another class": (IMAGES, _target(labels=LABEL + 98), r"labels: row 0: expected 1 to 10, got 99"),
    "labels of another type": (
        IMAGES,
        _target(labels=torch.ones(1)),
        r"targets\[0\]: labels: expected integers, got torch.float32",
    ),
    "no masks": (
        IMAGES,
        [{"boxes": BOX, "labels": LABEL}],
        r"targets\[0\]: expected masks \[1, 96, 80\], one per box, got none",
    ),
    "masks of another size": (
        IMAGES,
        _target(masks=MASK[:, ::2, ::2]),
        r"targets\[0\]: masks: expected shape \[1, 96, 80\], .* got \(1, 48, 40\)",
    ),
    "too few masks": (IMAGES, _target(masks=MASK[:0]), r"masks: expected shape \[1, 96, 80\], .* got \(0, 96, 80\)"),
    "masks of bytes": (IMAGES, _target(masks=MASK * 255), r"targets\[0\]: masks: expected values from 0 to 1, got 255"),
    "another device": ([IMAGES[0].to("meta")], _target(), "images.*: expected the device of the model, cpu, got meta"),
    "boxes elsewhere": (IMAGES, _target(boxes=BOX.to("meta")), "boxes: expected the device of the image, cpu, got m"),
    "masks elsewhere": (IMAGES, _target(masks=MASK.to("meta")), "masks: expected the device of the image, cpu, got m"),
}


@cache
def _detector() -> TwoStageDetector:
    return SETTINGS.build()


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_named(case: str) -> None:
    images, targets, message = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=message):
        _detector().train()(images, targets)


def test_autocast_takes_images_of_any_dtype() -> None:
    model = SETTINGS.build().bfloat16().eval()
    with pytest.raises(TypeError, match=r"expected the dtype of the weights, torch.bfloat16, got torch.float32"):
        model(IMAGES)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(model(IMAGES)[0]["boxes"]).all()


class _Backbone(nn.Module):
    """A backbone of two maps in whatever form a test asks for."""

    strides, out_channels, pooled_levels = (8, 16), 8, 2

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.fine, self.coarse, self.form = nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 8, 2, 2), form

    def forward(self, batch: Tensor) -> Any:
        fine = self.fine(batch)
        return self.form(fine, self.coarse(fine))


def _with_backbone(form: Callable[[Tensor, Tensor], Any]) -> TwoStageDetector:
    torch.manual_seed(0)
    return faster_rcnn(3, backbone=_Backbone(form), min_size=96, hidden=16).eval()


@pytest.mark.parametrize("form", [lambda *maps: maps, lambda a, b: {"0": a, "1": b}, lambda *maps: iter(maps)])
def test_a_backbone_returns_maps_in_any_form(form: Callable[[Tensor, Tensor], Any]) -> None:
    found, expected = _with_backbone(form)(IMAGES), _with_backbone(lambda *maps: list(maps))(IMAGES)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


WRONG_MAPS: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "none": (lambda *_: None, "backbone: expected it to return feature maps, got NoneType"),
    "one of two": (lambda a, _: a, r"backbone: expected 2 maps, one per stride \[8, 16\], got 1"),
    "an array": (lambda a, _: [a, np.zeros(3)], "backbone: map 1: expected a torch.Tensor, got numpy.ndarray"),
    "few channels": (lambda a, b: [a, b[:, :4]], r"map 1: expected \[N, 8, H, W\], got \(1, 4, 8, 6\)"),
    "another stride": (
        lambda a, b: [a[:, :, ::2, ::2], b],
        "map 0: expected about 16 x 12 pixels for an image of 128 x 96, because strides says 8, got 8 x 6",
    ),
}


@pytest.mark.parametrize("case", WRONG_MAPS)
def test_a_wrong_map_of_a_backbone_is_named(case: str) -> None:
    form, message = WRONG_MAPS[case]
    with pytest.raises((TypeError, ValueError), match=message):
        _with_backbone(form)(IMAGES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet18-fpn"}, "backbone: expected a module .* got str without strides, out_channels"),
        ({"backbone": nn.Conv2d(3, 8, 1)}, "got Conv2d without strides, pooled_levels"),
        ({"num_classes": None}, "num_classes: expected an int, got None"),
        ({"anchor_sizes": 5}, "anchor_sizes: expected a sequence of sizes for each map, got 5"),
        ({"anchor_sizes": [64, 128]}, r"anchor_sizes: expected a sequence of sizes for each map, got \[64, 128\]"),
        ({"proposal_settings": RoISettings()}, "proposal_settings: .*ProposalSettings, got RoISettings"),
        ({"roi_settings": 5}, "roi_settings: .*RoISettings, got int"),
        ({"pooler": 3}, "pooler: expected a name, or a function .* got int"),
        ({"pooler": nn.Identity()}, "pooler: expected a name, or a function .* got Identity"),
        ({"pooler": lambda *_: None}, "pooler: expected the function to return a module, got NoneType"),
    ],
)
def test_a_wrong_part_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        faster_rcnn(**{"num_classes": 3, "backbone": _Backbone(lambda *maps: maps), "hidden": 16, **options})


def test_wrong_generators_are_named() -> None:
    with pytest.raises(TypeError, match="generators: expected a list with one per image, got Generator"):
        _detector().train()(IMAGES, _target(), torch.Generator())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="generators: expected 1, one per image, got 2"):
        _detector().train()(IMAGES, _target(), [torch.Generator()] * 2)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.uint16, torch.float16, torch.float64])
@pytest.mark.parametrize(("build", "key"), [(mask_rcnn, "boxes"), (oriented_rcnn, "rotated_boxes")])
def test_boxes_of_every_real_dtype_have_the_same_losses(
    build: Callable[..., TwoStageDetector], key: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    model = build(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=16).train()
    boxes = torch.tensor([[40, 40, 90, 80, 1]])[:, : model.roi_heads.kind.numbers]
    others = {"labels": LABEL, "masks": torch.ones(1, 104, 124)}
    image = torch.rand(3, 104, 124)

    def losses(boxes: Tensor) -> dict[str, Tensor]:
        return model([image], [{key: boxes, **others}], [torch.Generator().manual_seed(0)])

    expected = losses(boxes.float())
    assert all(loss.isfinite() for loss in expected.values())
    torch.testing.assert_close(losses(boxes.to(dtype)), expected, rtol=1e-5, atol=1e-6, check_dtype=False)


def _small_detector() -> TwoStageDetector:
    return faster_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=16).eval()


def _range_warnings(call: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RoIWarning)
        call()
    return [str(one.message).partition(";")[0] for one in caught if one.category is RoIWarning]


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (torch.tensor([0.0, 255.0]), "0 to 255"),
        (torch.tensor([-2.0, 2.5]), "-2 to 2.5"),
        (torch.tensor([-1.0, 1.0]), "-1 to 1"),
        (torch.tensor([0.0, torch.nan]), "NaN"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_images_with_values_far_from_0_to_1_give_one_warning(image: Tensor, got: str, dtype: torch.dtype) -> None:
    model = _small_detector().to(dtype)
    usual, wrong = torch.rand(3, 64, 96, dtype=dtype), image.to(dtype).repeat(3, 64, 48)
    overshooting = torch.linspace(-0.2, 1.2, 96, dtype=dtype).expand(3, 64, -1)
    assert _range_warnings(lambda: model([usual, overshooting])) == []
    message = f"images[1]: expected values from 0 to 1, got {got}"
    assert _range_warnings(lambda: model([usual, wrong])) == [message]
    assert _range_warnings(lambda: model([wrong])) == []


def test_an_exportable_detector_warns_too() -> None:
    exportable, image = ExportableDetector(_small_detector()), 255 * torch.ones(1, 3, 64, 96)
    message = "image: expected values from 0 to 1, got 255 to 255"
    assert _range_warnings(lambda: exportable(image)) == [message]
    assert _range_warnings(lambda: exportable(image)) == []


def test_values_are_not_read_where_that_would_cost_or_cannot_be_done() -> None:
    image = 255 * torch.ones(3, 8, 8)
    assert not warn_of_range(image.to("meta"), "image")
    with FakeTensorMode() as mode:
        assert not warn_of_range(mode.from_tensor(image), "image")
    seen = []
    torch.func.vmap(lambda one: seen.append(warn_of_range(one, "image")) or one)(image[None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(lambda one: seen.append(warn_of_range(one, "image")) or one + 1, image, check_trace=False)
    make_fx(lambda one: seen.append(warn_of_range(one, "image")) or one + 1)(image)
    assert seen == [False] * 3
