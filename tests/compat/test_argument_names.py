"""Errors and warnings of the replacements name the arguments of the function that was called, not those of roialign."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from roialign import RoIWarning
from roialign.compat import detectron2, mmcv, onnx, torchvision

MAP = torch.ones(1, 4, 8, 8)
FLAT = MAP[0]
ROWS = torch.tensor([[0, 1.0, 1.0, 6.0, 5.0]])
BOXES = ROWS[:, 1:]
AWAY = torch.tensor([[3, 1.0, 1.0, 6.0, 5.0]])
TURNED = torch.tensor([[3.0, 3.0, 5.0, 4.0, 0.1]])
WRONG = torch.tensor([[3.0, 3.0, -5.0, 4.0, 0.1]])
TURNED_ROWS = torch.tensor([[0, 3.0, 3.0, 5.0, 4.0, 0.1]])
OFFSET = torch.zeros(1, 2, 2, 2)
ROW = "(image, x1, y1, x2, y2)"
DIMENSIONS = "expected 4 dimensions [N, C, H, W], got shape (4, 8, 8)"
NO_IMAGES = f"expected shape [K, 5] with rows {ROW}, got (1, 4); give boxes of shape [K, 4] as a list with one item per"
OUT_OF_RANGE = "expected an integer batch index 0 <= index < 1, got 3"
EXTRACTOR = {"type": "RoIAlign", "output_size": 2}
POINTWISE = {"type": "RoIPool", "output_size": 2}


def _pooler(*arguments: Any) -> Any:
    return detectron2.ROIPooler(2, [1.0, 0.5], 2, "ROIAlign")(*arguments)


def _replaced(scale: float) -> Any:
    """Of a pooler whose last layer was replaced."""
    pooler = detectron2.ROIPooler(2, [0.25, 0.125], 2, "ROIAlign")
    pooler.level_poolers[1] = detectron2.ROIAlign(2, scale, 2)
    return pooler([MAP, MAP], [BOXES])


def _levels(x: Any, boxes: Any) -> Any:
    pool = torchvision.MultiScaleRoIAlign(["a", "b"], 2, 2)
    pool.scales = [1.0, 0.5]
    return pool(x, boxes, [(8, 8)])


NO_SIZES = {
    0: "canonical_box_size: expected a positive number, got 0",
    -5: "canonical_box_size: expected a positive number, got -5",
}
#: The size of a map, and of the second image. The search for a stride would never end for most of them.
NO_PIXELS: dict[tuple[Any, Any], str] = {
    ((0, 5), (32, 32)): "x['0']: expected the height and width of a map of at least 1 x 1 pixels, got (0, 5)",
    ((4, 0), (32, 32)): "x['0']: expected the height and width of a map of at least 1 x 1 pixels, got (4, 0)",
    (
        (4, 5),
        (0, 32),
    ): "image_shapes[1]: expected the height and width of an image of at least 1 x 1 pixels, got (0, 32",
    (
        (4, 5),
        (32, -1),
    ): "image_shapes[1]: expected the height and width of an image of at least 1 x 1 pixels, got (32, ",
    (
        (4, 5),
        (math.inf, 32),
    ): "image_shapes[1]: expected the height and width of an image of at least 1 x 1 pixels, got",
}


def _of_sizes(of_map: tuple[int, int], of_image: tuple[int, int]) -> torch.Tensor:
    pool = torchvision.MultiScaleRoIAlign(["0"], 1, 2)
    return pool({"0": torch.zeros(1, 4, *of_map)}, [torch.zeros(0, 4)], [(32, 32), of_image])


CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: torchvision.roi_align(FLAT, ROWS, 2), f"input: {DIMENSIONS}"),
    (lambda: torchvision.roi_align(MAP, BOXES, 2), f"boxes: {NO_IMAGES}"),
    (lambda: torchvision.roi_align(MAP, AWAY, 2), f"boxes[0]: {OUT_OF_RANGE}"),
    (lambda: torchvision.roi_align(MAP, [BOXES, BOXES], 2), "boxes: expected one tensor of boxes per image (1), got 2"),
    (lambda: torchvision.roi_align(MAP, ROWS, 2, 1.0, "2"), "sampling_ratio: expected an int or a pair of"),
    (lambda: torchvision.roi_pool(FLAT, ROWS, 2), f"input: {DIMENSIONS}"),
    (lambda: torchvision.roi_pool(MAP, AWAY, 2), f"boxes[0]: {OUT_OF_RANGE}"),
    (lambda: torchvision.ps_roi_align(FLAT, ROWS, 2), f"input: {DIMENSIONS}"),
    (lambda: torchvision.ps_roi_align(MAP, AWAY, 2), f"boxes[0]: {OUT_OF_RANGE}"),
    (lambda: torchvision.ps_roi_pool(MAP[:, :3], ROWS, 2), "input: expected a multiple of PH * PW = 4 channels, got 3"),
    (lambda: torchvision.ps_roi_pool(MAP, BOXES, 2), f"boxes: {NO_IMAGES}"),
    (lambda: torchvision.RoIAlign(2, 1.0, 2)(FLAT, ROWS), f"input: {DIMENSIONS}"),
    (lambda: torchvision.RoIAlign(2, 1.0, 2)(MAP, AWAY), f"rois[0]: {OUT_OF_RANGE}"),
    (lambda: torchvision.RoIPool(2, 1.0)(MAP, AWAY), f"rois[0]: {OUT_OF_RANGE}"),
    (lambda: torchvision.RoIPool(2, 1.0)(MAP, BOXES), f"rois: {NO_IMAGES}"),
    (
        lambda: torchvision.RoIPool(2, 1.0)(MAP, [BOXES, BOXES]),
        "rois: expected one tensor of boxes per image (1), got 2",
    ),
    (
        lambda: mmcv.RoIAlignRotated(2, 1.0)(MAP, TURNED),
        "rois: expected shape [K, 6] with rows (image, centre x, centre y, width, height, angle), got (1, 5); "
        "give boxes of shape [K, 5] as a list with one item per image",
    ),
    (lambda: _levels({"a": MAP, "b": MAP[:, :3]}, [BOXES]), "x[1]: expected the images and channels of x[0], 1 and 4"),
    (lambda: _levels({"a": MAP, "b": MAP}, [BOXES * torch.inf]), "boxes[0][0]: expected finite coordinates"),
    (
        lambda: _levels({"a": MAP}, [BOXES]),
        "x: expected 2 of the maps ['a', 'b'], one for each of the module's `scales` [1.0, 0.5], got ['a']",
    ),
    (
        lambda: torchvision.MultiScaleRoIAlign(["a"], 2, 2)({"a": MAP}, [], []),
        "image_shapes: expected one (height, width) per image, got none",
    ),
    (lambda: detectron2.ROIAlign(2, 1.0, 2)(FLAT, ROWS), f"input: {DIMENSIONS}"),
    (lambda: detectron2.ROIAlignRotated(2, 1.0, 2)(FLAT, TURNED_ROWS), f"input: {DIMENSIONS}"),
    (lambda: _pooler([MAP, FLAT], [BOXES]), f"x[1]: {DIMENSIONS}"),
    (lambda: _pooler([MAP, MAP], [BOXES * torch.inf]), "box_lists[0][0]: expected finite coordinates"),
    (lambda: _pooler([MAP], [BOXES]), "x: expected one map per level (2), got 1"),
    (lambda: detectron2.ROIPooler(2, [-1.0], 2, "ROIAlign"), "scales[0]: expected a positive number, got -1.0"),
    (
        lambda: detectron2.ROIPooler(2, [0.125, 0.25], 2, "ROIAlign"),
        "scales: expected strictly decreasing scales, finest level first, got [0.125, 0.25]",
    ),
    (
        lambda: detectron2.ROIPooler(2, [0.25, 0.25], 2, "ROIAlignRotated"),
        "scales: expected strictly decreasing scales, finest level first, got [0.25, 0.25]",
    ),
    (lambda: _replaced(0.5), "scales: expected strictly decreasing scales, finest level first, got [0.25, 0.5]"),
    (
        lambda: detectron2.assign_boxes_to_levels([BOXES], 5, 2, 224, 4),
        "min_level: expected at most max_level, 2, got 5",
    ),
    *(
        (lambda size=size: detectron2.assign_boxes_to_levels([BOXES], 2, 5, size, 4), text)
        for size, text in NO_SIZES.items()
    ),
    *((lambda size=size: detectron2.ROIPooler(2, [1.0], 0, "ROIAlign", size), text) for size, text in NO_SIZES.items()),
    (
        lambda: detectron2.ROIPooler(2, [1.0], 0, "ROIAlign", canonical_level=math.nan),  # type: ignore[arg-type]
        "canonical_level: expected a finite number, got nan",
    ),
    (
        lambda: mmcv.SingleRoIExtractor(EXTRACTOR, 4, [1], finest_scale=0),
        "finest_scale: expected a positive number, got 0",
    ),
    (
        lambda: mmcv.SingleRoIExtractor(EXTRACTOR, 4, [1], finest_scale=-5),
        "finest_scale: expected a positive number, got -5",
    ),
    (lambda: mmcv.SingleRoIExtractor(EXTRACTOR, 4, [1, 0]), "featmap_strides[1]: expected a positive number, got 0"),
    (lambda: mmcv.SingleRoIExtractor(EXTRACTOR, 4, []), "featmap_strides: expected the stride of at least one map"),
    *((lambda sizes=sizes: _of_sizes(*sizes), text) for sizes, text in NO_PIXELS.items()),
    (
        lambda: torchvision.MultiScaleRoIAlign(["0"], 2, 2, canonical_scale=0),
        "canonical_scale: expected a positive number, got 0",
    ),
    (lambda: detectron2.pairwise_iou_rotated(TURNED, WRONG), "boxes2[0]: expected a width and a height of at least 0"),
    (lambda: detectron2.nms_rotated(TURNED, torch.ones(1), 2), "iou_threshold: expected a number from 0 to 1, got 2"),
    (
        lambda: detectron2.batched_nms_rotated(TURNED, torch.ones(1), torch.ones(2, dtype=torch.int64), 0.5),
        "idxs: expected shape [1], one per row of boxes, got (2,)",
    ),
    (lambda: mmcv.roi_align(FLAT, ROWS, 2), f"input: {DIMENSIONS}"),
    (lambda: mmcv.roi_align(MAP, BOXES, 2), f"rois: {NO_IMAGES}"),
    (lambda: mmcv.roi_align(MAP, ROWS, 2, pool_mode="sum"), "pool_mode: expected one of 'avg', 'max', got 'sum'"),
    (
        lambda: mmcv.roi_align(MAP, ROWS, 2, 1.0, 257, "max"),
        "sampling_ratio: expected at most 256 with pool_mode='max'",
    ),
    (lambda: mmcv.roi_pool(FLAT, ROWS, 2), f"input: {DIMENSIONS}"),
    (lambda: mmcv.prroi_pool(FLAT, ROWS, 2), f"features: {DIMENSIONS}"),
    (lambda: mmcv.roi_align_rotated(FLAT, TURNED_ROWS, 2), f"input: {DIMENSIONS}"),
    (lambda: mmcv.riroi_align_rotated(MAP, TURNED_ROWS, 0, 1.0), "out_size: expected at least 1, got 0"),
    (lambda: mmcv.riroi_align_rotated(MAP, TURNED_ROWS, 2, 1.0, 257), "num_samples: expected at most 256, got 257"),
    (lambda: mmcv.deform_roi_pool(FLAT, ROWS, OFFSET, 2), f"input: {DIMENSIONS}"),
    (
        lambda: mmcv.deform_roi_pool(MAP, ROWS, OFFSET * torch.nan, 2),
        "offset[0]: expected finite numbers up to 1e+100, got nan",
    ),
    (lambda: mmcv.RoIPool(2)(FLAT, ROWS), f"input: {DIMENSIONS}"),
    (lambda: mmcv.DeformRoIPool(2)(FLAT, ROWS, OFFSET), f"input: {DIMENSIONS}"),
    (lambda: mmcv.DeformRoIPoolPack(2, 4)(FLAT, ROWS), f"input: {DIMENSIONS}"),
    (lambda: mmcv.ModulatedDeformRoIPoolPack(2, 4)(FLAT, ROWS), f"input: {DIMENSIONS}"),
    (lambda: mmcv.box_iou_rotated(WRONG, TURNED), "bboxes1[0]: expected a width and a height of at least 0"),
    (lambda: mmcv.box_iou_rotated(TURNED, TURNED, aligned=1), "aligned: expected True or False, got 1"),
    (
        lambda: mmcv.box_iou_rotated(TURNED, TURNED[:0], aligned=True),
        "bboxes2: expected one row per row of bboxes1 (1) with aligned=True, got 0",
    ),
    (lambda: mmcv.nms_rotated(WRONG, torch.ones(1), 0.5), "dets[0]: expected a width and a height of at least 0"),
    (lambda: mmcv.nms_rotated(TURNED, torch.ones(2), 0.5), "scores: expected shape [1], one per row of dets, got (2,)"),
    (
        lambda: mmcv.nms_rotated(TURNED, torch.ones(1), 0.5, [1]),  # type: ignore[arg-type]
        "labels: expected a torch.Tensor, like dets, got builtins.list",
    ),
    (
        lambda: detectron2.batched_nms_rotated(TURNED, torch.ones(1), [1], 0.5),  # type: ignore[arg-type]
        "idxs: expected a torch.Tensor, like boxes, got builtins.list",
    ),
    (
        lambda: torchvision.roi_align(MAP, ROWS.numpy(), 2),  # type: ignore[arg-type]
        "boxes: expected a torch.Tensor, like input, got numpy.ndarray",
    ),
    (
        lambda: torchvision.roi_pool(MAP, ROWS.to("meta"), 2),
        "boxes: expected the device of input, cpu, got meta",
    ),
    (
        lambda: mmcv.deform_roi_pool(MAP, ROWS, OFFSET.to("meta"), 2),
        "offset: expected the device of input, cpu, got meta",
    ),
    (lambda: mmcv.diff_iou_rotated_2d(TURNED[None], WRONG[None]), "box2[0]: expected a width and a height of at least"),
    (
        lambda: torchvision.MultiScaleRoIAlign(["0"], 2, 2)({"0": [MAP]}, [BOXES], [(4, 4)]),
        "x['0']: expected a torch.Tensor, got builtins.list",
    ),
    (lambda: mmcv.SingleRoIExtractor(EXTRACTOR, 4, [1])([FLAT], ROWS), f"feats: {DIMENSIONS}"),
    (lambda: mmcv.SingleRoIExtractor(EXTRACTOR, 4, [1, 2])([MAP, FLAT], ROWS), f"feats[1]: {DIMENSIONS}"),
    (
        lambda: mmcv.GenericRoIExtractor(roi_layer=POINTWISE, out_channels=4, featmap_strides=[1])([FLAT], ROWS),
        "feats: ",
    ),
    (lambda: onnx.roi_align(FLAT, BOXES, torch.tensor([0])), f"X: {DIMENSIONS}"),
    (lambda: onnx.roi_align(MAP.numpy(), BOXES.numpy(), np.array([3])), f"batch_indices[0]: {OUT_OF_RANGE}"),
    (lambda: onnx.roi_align(MAP, BOXES, torch.tensor([3])), f"batch_indices[0]: {OUT_OF_RANGE}"),
    (lambda: onnx.roi_align(MAP, BOXES, torch.tensor([3]), mode="max"), f"batch_indices[0]: {OUT_OF_RANGE}"),
    (lambda: onnx.roi_align(MAP, BOXES, torch.tensor([0]), output_width=0), "output_width: expected at least 1, got 0"),
    (lambda: onnx.roi_align(MAP, BOXES, torch.tensor([0]), opset="16"), "opset: expected an int, got '16'"),
]


@pytest.mark.parametrize(("call", "text"), CALLS, ids=[f"{place}-{row[-1]}" for place, row in enumerate(CALLS)])
def test_errors_name_the_argument_of_the_caller(call: Callable[[], Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert str(raised.value).startswith(text)
    assert "or together with batch_indices" not in str(raised.value)


#: Calls with something else in place of the first tensor, and its name.
FIRST: list[tuple[Callable[[Any], Any], str]] = [
    (lambda value: torchvision.roi_align(value, [BOXES], 2), "input"),
    (lambda value: torchvision.roi_pool(value, ROWS, 2), "input"),
    (lambda value: torchvision.ps_roi_align(value, ROWS, 2), "input"),
    (lambda value: torchvision.ps_roi_pool(value, ROWS, 2), "input"),
    (lambda value: torchvision.RoIAlign(2, 1.0, 2)(value, ROWS), "input"),
    (lambda value: torchvision.RoIPool(2, 1.0)(value, ROWS), "input"),
    (lambda value: _levels({"a": value, "b": value}, [BOXES]), "x"),
    (lambda value: mmcv.roi_align(value, ROWS, 2), "input"),
    (lambda value: mmcv.roi_align_rotated(value, TURNED_ROWS, 2, 1.0), "input"),
    (lambda value: mmcv.prroi_pool(value, ROWS, 2), "features"),
    (lambda value: mmcv.deform_roi_pool(value, ROWS, None, 2), "input"),
    (lambda value: mmcv.SimpleRoIAlign(2, 1.0)(value, ROWS), "features"),
    (lambda value: detectron2.ROIAlign(2, 1.0, 2)(value, ROWS), "input"),
    (lambda value: detectron2.ROIAlignRotated(2, 1.0, 2)(value, TURNED_ROWS), "input"),
    (lambda value: _pooler([value, value], [BOXES]), "x"),
    (lambda value: detectron2.pairwise_iou_rotated(value, TURNED), "boxes1"),
    (lambda value: mmcv.diff_iou_rotated_2d(value, TURNED[None]), "box1"),
]


@pytest.mark.parametrize("case", range(len(FIRST)))
@pytest.mark.parametrize("value", [None, [[1.0]], "map"])
def test_the_first_argument_is_a_tensor(case: int, value: object) -> None:
    call, name = FIRST[case]
    with pytest.raises(TypeError) as raised:
        call(value)
    kind = type(value).__name__
    expected = rf"{name}(\[\d\])?: expected a torch\.Tensor, got builtins\.{kind}"
    assert re.fullmatch(expected, str(raised.value)), str(raised.value)


def test_an_array_beside_a_tensor_is_named() -> None:
    with pytest.raises(TypeError, match=r"^boxes: expected the other arguments as torch.Tensor, like this one, got nu"):
        torchvision.roi_align(MAP.numpy(), ROWS, 2)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")  # torch's, of quantised and nested tensors
def test_tips_name_the_argument_of_the_caller() -> None:
    with pytest.raises(TypeError, match=r"use input\.dequantize\(\)"):
        torchvision.roi_align(torch.quantize_per_tensor(MAP, 1.0, 0, torch.qint8), ROWS, 2)
    with pytest.raises(TypeError, match=r"torch\.nested\.to_padded_tensor\(boxes, 0\)"):
        torchvision.roi_pool(MAP, torch.nested.nested_tensor([BOXES]), 2)


WIDTHS = torch.tensor([[0, 6.0, 5.0, 3.0, 2.0]])
NEGATIVE = torch.tensor([[0, 3.0, 3.0, -5.0, 4.0, 0.1]])
LARGE = torch.tensor([[0, 100.0, 100.0, 500.0, 500.0]])
INVERTED = "1 box of 1 with x2 < x1 or y2 < y1; the first is"
NEGATIVE_SIDE = "1 box of 1 with a negative width or height; the first is"
NO_BOX = "no box touches its map of 8 x 8 pixels"
WARNINGS: list[tuple[Callable[[], Any], str]] = [
    (lambda: torchvision.roi_align(MAP, WIDTHS, 2), f"boxes: {INVERTED}"),
    (lambda: torchvision.roi_align(MAP, [WIDTHS[:, 1:]], 2), f"boxes: {INVERTED}"),
    (
        lambda: torchvision.roi_align(MAP, LARGE, 2, 16),
        f"boxes: {NO_BOX}, so the whole output is zero. spatial_scale: ",
    ),
    (lambda: torchvision.roi_pool(MAP, WIDTHS, 2), f"boxes: {INVERTED}"),
    (lambda: torchvision.ps_roi_align(MAP, WIDTHS, 2), f"boxes: {INVERTED}"),
    (lambda: torchvision.ps_roi_pool(MAP, WIDTHS, 2), f"boxes: {INVERTED}"),
    (lambda: torchvision.RoIAlign(2, 1.0, 2)(MAP, WIDTHS), f"rois: {INVERTED}"),
    (lambda: torchvision.RoIPool(2, 1.0)(MAP, WIDTHS), f"rois: {INVERTED}"),
    (lambda: _levels({"a": MAP, "b": MAP}, [WIDTHS[:, 1:]]), f"boxes: {INVERTED}"),
    (lambda: _levels({"a": MAP, "b": MAP}, [LARGE[:, 1:]]), f"boxes: {NO_BOX}, so the whole output is zero. scales: "),
    (lambda: detectron2.ROIAlign(2, 1.0, 2)(MAP, WIDTHS), f"rois: {INVERTED}"),
    (lambda: detectron2.ROIAlignRotated(2, 1.0, 2)(MAP, NEGATIVE), f"rois: {NEGATIVE_SIDE}"),
    (lambda: _pooler([MAP, MAP], [WIDTHS[:, 1:]]), f"box_lists: {INVERTED}"),
    (
        lambda: detectron2.ROIPooler(2, [16.0], 2, "ROIPool")([MAP], [LARGE[:, 1:]]),
        f"box_lists: {NO_BOX}, so the whole output is zero. scales: ",
    ),
    (lambda: mmcv.roi_align(MAP, WIDTHS, 2), f"rois: {INVERTED}"),
    (lambda: mmcv.RoIAlignRotated(2, 1.0)(MAP, NEGATIVE), f"rois: {NEGATIVE_SIDE}"),
    (lambda: mmcv.SingleRoIExtractor(EXTRACTOR, 4, [1, 2])([MAP, MAP], WIDTHS), f"rois: {INVERTED}"),
    (lambda: onnx.roi_align(MAP, WIDTHS[:, 1:], torch.tensor([0])), f"rois: {INVERTED}"),
]


@pytest.mark.parametrize(("call", "text"), WARNINGS, ids=[str(place) for place in range(len(WARNINGS))])
def test_warnings_name_the_argument_of_the_caller(call: Callable[[], Any], text: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RoIWarning)
        call()
    (warning,) = caught
    assert str(warning.message).startswith(text)
    assert warning.filename == __file__


def test_the_names_are_those_of_the_function_that_warns() -> None:
    with pytest.raises(ValueError, match=r"^boxes\[0\]"):
        torchvision.roi_align(MAP, AWAY, 2)
    with pytest.warns(RoIWarning, match="^rois: 1 box of 1"):
        mmcv.prroi_pool(MAP, WIDTHS, 2)
