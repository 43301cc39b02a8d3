"""What a detector says about images and targets that it cannot use."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from roialign.detection import TwoStageDetector
from tests.detection.detectors import SETTINGS

IMAGES = [torch.rand(3, 96, 80)]
BOX, LABEL, MASK = torch.tensor([[1.0, 1, 5, 5]]), torch.tensor([1]), torch.ones(1, 96, 80, dtype=torch.uint8)


def _target(**others: Any) -> list[dict[str, Any]]:
    return [{"boxes": BOX, "labels": LABEL, "masks": MASK, **others}]


WRONG: dict[str, tuple[list[Any], Any, str]] = {
    "no images": ([], None, "images: expected at least one, got none"),
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
