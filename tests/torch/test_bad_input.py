"""What a user can get wrong with tensors: the messages name the argument, the row, the expected and the found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import roialign
from tests.tables.tensors import SCALES, features, multiscale, pyramid, rois, stated, values

GOOD, ROIS = features(), rois()
IMAGES = torch.tensor([0, 1, 1])


def edited(row: int, column: int, value: float) -> Any:
    changed = rois()
    changed[row, column] = value
    return changed


#: features, rois, more arguments, error, text: of roi_align and of its twin.
SHARED: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    (GOOD, ROIS.numpy(), {}, TypeError, "rois: expected a torch.Tensor, like features, got numpy.ndarray"),
    (GOOD.numpy(), ROIS, {}, TypeError, "rois: expected a numpy.ndarray, like the other arguments, got torch.Tensor"),
    (GOOD, [[1, 1, 2, 2], []], {}, TypeError, r"rois\[0\]: expected a torch.Tensor, like features, got builtins.list"),
    (GOOD[0], ROIS, {}, ValueError, r"features: expected 4 dimensions \[N, C, H, W\], got shape \(3, 7, 9\)"),
    (GOOD.long(), ROIS, {}, TypeError, "features: expected dtype float64, float32, float16, bfloat16, got torch.int64"),
    (GOOD.to_sparse(), ROIS, {}, TypeError, "features: expected a dense tensor, got layout torch.sparse_coo"),
    (
        GOOD[:, :, :0],
        ROIS,
        {},
        ValueError,
        r"features: expected a map of at least 1 x 1 pixels, got shape \(2, 3, 0, 9\)",
    ),
    (GOOD.to("meta"), ROIS, {}, ValueError, "rois: expected the device of features, meta, got cpu"),
    (GOOD, ROIS.to("meta"), {}, ValueError, "rois: expected the device of features, cpu, got meta"),
    (GOOD, ROIS[:, 1:], {}, ValueError, r"rois: expected shape \[K, 5\] with rows .* together with batch_indices"),
    (GOOD, ROIS[0], {}, ValueError, r"rois: expected shape \[K, 5\], got \(5,\)"),
    (GOOD, ROIS > 0, {}, TypeError, r"rois: expected a real dtype \(float or integer\), got torch.bool"),
    (GOOD, ROIS.to(torch.complex64), {}, TypeError, "rois: expected a real dtype"),
    (GOOD, edited(1, 0, 2), {}, ValueError, r"rois\[1\]: expected an integer batch index 0 <= index < 2, got 2"),
    (GOOD, edited(2, 0, -1), {}, ValueError, r"rois\[2\]: expected an integer batch index 0 <= index < 2, got -1"),
    (GOOD, edited(1, 3, np.nan), {}, ValueError, r"rois\[1\]: expected finite coordinates, got \(.*nan"),
    (GOOD, edited(0, 1, np.inf), {}, ValueError, r"rois\[0\]: expected finite coordinates, got \(inf"),
    (GOOD, [ROIS[:, 1:]], {}, ValueError, r"rois: expected one tensor of boxes per image \(2\), got 1"),
    (GOOD, [ROIS[:, 1:], ROIS], {}, ValueError, r"rois\[1\]: expected shape \[K, 4\], got \(3, 5\)"),
    (GOOD, ROIS[:, 1:], {"batch_indices": IMAGES[:2]}, ValueError, r"batch_indices: expected shape \[3\], one per row"),
    (GOOD, ROIS[:, 1:], {"batch_indices": IMAGES * 1.0}, TypeError, "batch_indices: expected an integer dtype, got"),
    (GOOD, ROIS, {"batch_indices": IMAGES}, ValueError, r"rois: expected shape \[K, 4\], got \(3, 5\)"),
    (
        GOOD,
        [ROIS[:1, 1:], edited(2, 3, np.nan)[1:, 1:]],
        {},
        ValueError,
        r"rois\[1\]\[1\]: expected finite coordinates, got \(.*nan",
    ),
    (GOOD, ROIS, {"layout": "NWHC"}, ValueError, "layout: expected one of 'NCHW', 'NHWC', got 'NWHC'"),
    (GOOD, ROIS, {"invalid": "skip"}, ValueError, "invalid: expected one of 'raise', 'zero', got 'skip'"),
    (
        GOOD,
        ROIS,
        {"backend": "triton"},
        ValueError,
        "backend: 'triton' needs CUDA tensors, got features on",
    ),
    (GOOD, ROIS, {"backend": "gpu"}, ValueError, "backend: expected one of 'cpu', 'reference', got 'gpu'"),
]


@pytest.fixture(autouse=True)
def _no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users have it: Triton's kernels are for GPUs."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.mark.parametrize(("f", "r", "more", "error", "text"), SHARED, ids=[row[-1][:50] for row in SHARED])
def test_shared(f: Any, r: Any, more: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        roialign.roi_align(f, r, 2, **more)
    if isinstance(f, torch.Tensor) and f.ndim == 4 and not f.is_sparse:
        with pytest.raises(error, match=text):
            roialign.roi_align_backward(torch.ones(3, 3, 2, 2, dtype=torch.float64), f, r, **more)


@pytest.mark.parametrize(
    ("gradient", "error", "text"),
    [
        (np.ones((3, 3, 2, 2)), TypeError, "grad_output: expected a torch.Tensor"),
        (
            torch.ones(3, 3, 2),
            ValueError,
            r"grad_output: expected 4 dimensions \[K, C, PH, PW\], got shape \(3, 3, 2\)",
        ),
        (values(2, 3, 2, 2), ValueError, r"grad_output: expected shape \[3, 3, 'PH', 'PW'\], got \(2, 3, 2, 2\)"),
        (
            torch.ones(3, 3, 2, 2),
            TypeError,
            "grad_output: expected the dtype of features, torch.float64, got torch.float32",
        ),
    ],
)
def test_gradients(gradient: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        roialign.roi_align_backward(gradient, GOOD, ROIS)


@pytest.mark.parametrize(
    ("levels", "error", "text"),
    [
        (torch.tensor([0, 1]), ValueError, r"levels: expected shape \[3\], one per row of rois, got \(2,\)"),
        (torch.tensor([0.0, 1, 1]), TypeError, "levels: expected an integer dtype, got torch.float32"),
        (torch.tensor([0, 2, 1]), ValueError, r"levels\[1\]: expected 0 <= level < 2, got 2"),
        (torch.tensor([0, 1, -1]), ValueError, r"levels\[2\]: expected 0 <= level < 2, got -1"),
        (np.array([0, 1, 1]), TypeError, "levels: expected a torch.Tensor, like features, got numpy.ndarray"),
    ],
)
def test_levels(levels: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        multiscale(pyramid(), ROIS, levels=levels)


def test_a_pyramid_of_levels_that_differ() -> None:
    first, second = pyramid()
    for wrong, text in (
        (second[:1], "images and channels of features.0., 2 and 3, got 1 and 3"),
        (second.to("meta"), "the device of features, cpu, got meta"),
    ):
        with pytest.raises(ValueError, match=rf"features\[1\]: expected {text}|features\[1\]: expected the {text}"):
            multiscale([first, wrong], ROIS)
    with pytest.raises(
        TypeError, match=r"features\[1\]: expected the dtype of features\[0\], torch.float64, got torch.float32"
    ):
        multiscale([first, second.float()], ROIS)
    with pytest.raises(TypeError, match=r"features\[1\]: expected a torch.Tensor, like features, got numpy"):
        multiscale([first, second.numpy()], ROIS)


def test_invalid_zero_gives_zeros_and_no_gradient() -> None:
    bad = torch.cat([edited(1, 0, 5), edited(0, 2, np.nan)]).requires_grad_()
    f = features().requires_grad_()
    answer = roialign.roi_align(f, bad, 2, 1 / 4, invalid="zero")
    assert [bool(row.any()) for row in answer] == [True, False, True, False, True, True]
    answer.square().sum().backward()
    assert bad.grad is not None
    assert [bool(row.any()) for row in bad.grad] == [True, False, True, False, True, True]
    assert f.grad is not None
    assert f.grad.isfinite().all()


def test_other_functions() -> None:
    image = GOOD.permute(0, 2, 3, 1)
    boxes = torch.rand(3, 4)
    with pytest.raises(ValueError, match=r"box_indices: expected shape \[3\], one per row of boxes, got \(2,\)"):
        roialign.crop_and_resize(image, boxes, IMAGES[:2], 3)
    with pytest.raises(ValueError, match=r"box_indices\[0\]: expected an integer batch index 0 <= index < 2, got 4"):
        roialign.crop_and_resize(image, boxes, IMAGES + 4, 3)
    boxes[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"boxes\[1\]: expected finite coordinates, got \(nan, 0"):
        roialign.crop_and_resize(image, boxes, IMAGES, 3)
    with pytest.raises(ValueError, match=r"y: expected a shape that broadcasts with x, \(2,\), got \(3,\)"):
        roialign.bilinear_interpolate(GOOD, torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="x: expected a finite coordinate, got nan"):
        roialign.bilinear_interpolate(GOOD, torch.tensor(np.nan), 0.0)
    with pytest.raises(TypeError, match="x: expected a real dtype"):
        roialign.bilinear_interpolate(GOOD, torch.zeros(2) > 1, 0.0)
    with pytest.raises(ValueError, match=r"features: expected at least 2 dimensions"):
        roialign.bilinear_interpolate(GOOD[0, 0, 0], 0.0, 0.0)
    with pytest.raises(ValueError, match=r"rois: expected shape \[K, 4\] or \[K, 5\], got \(3, 3\)"):
        roialign.fpn_levels(ROIS[:, :3], SCALES)
    with pytest.raises(ValueError, match=r"rois\[1\]: expected finite coordinates"):
        roialign.fpn_levels(edited(1, 3, np.nan), SCALES)
    with pytest.raises(TypeError, match=r"rois\[1\]: expected a torch.Tensor"):
        roialign.fpn_levels([ROIS[:, 1:], ROIS[:, 1:].numpy()], SCALES)
    with pytest.raises(ValueError, match="spatial_scales: expected strictly decreasing scales"):
        roialign.fpn_levels(ROIS, SCALES[::-1])


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: roialign.roi_align(GOOD, [stated(ROIS[:1, 1:], "XYWH"), ROIS[1:, 1:]], 2), r"rois\[0\]"),
        (lambda: roialign.roi_align(GOOD, stated(ROIS[:, 1:], "CXCYWH"), 2, batch_indices=IMAGES), "rois"),
        (lambda: multiscale(pyramid(), [ROIS[:1, 1:], stated(ROIS[1:, 1:], "XYWH")]), r"rois\[1\]"),
        (lambda: roialign.fpn_levels(stated(ROIS[:, 1:], "XYWH"), SCALES), "rois"),
        (lambda: roialign.rotated_iou(ROIS, stated(ROIS, "CXCYWHR")), "others"),
        (lambda: roialign.rotated_nms(stated(ROIS, "XYWHR"), ROIS[:, 1], 0.5), "boxes"),
    ],
)
def test_boxes_that_state_another_format(call: Any, argument: str) -> None:
    """They were read as corners, and their degrees as radians."""
    with pytest.raises(ValueError, match=rf"^{argument}: expected boxes \(x1, y1, x2, y2\), .* state the format"):
        call()


def test_boxes_that_state_the_right_format() -> None:
    right = roialign.roi_align(GOOD, [ROIS[:1, 1:], ROIS[1:, 1:]], 2)
    found = roialign.roi_align(GOOD, [stated(ROIS[:1, 1:], "XYXY"), ROIS[1:, 1:]], 2)
    assert torch.equal(found.as_subclass(torch.Tensor), right)
