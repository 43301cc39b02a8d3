"""What other systems answered (tests/golden), against every backend."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

import roialign
from tests.tables.paths import GOLDEN
from tests.tables.tolerances import assert_close

Array = np.ndarray[Any, np.dtype[Any]]


#: Cases in every file, and of these the ones that an operator of this version answers.
COUNTS = {
    "torchvision_roi_align": (96, 96),
    "torchvision_multiscale_roi_align": (3, 3),
    "torchvision_roi_pool": (12, 12),
    "torchvision_ps_roi_align": (12, 12),
    "torchvision_ps_roi_pool": (6, 6),
    "mmcv_roi_align_max": (48, 48),
    "mmcv_roi_align_rotated": (16, 16),
    "detectron2_roi_align_rotated": (12, 12),
    "onnxruntime_roi_align": (144, 96),
    "tensorflow_crop_and_resize": (12, 12),
}
#: Whose maximum is that of the interpolated samples, as ours is: not over the products of weight and pixel.
MAX_OF_SAMPLES = "mmcv_roi_align_max"


@cache
def recorded(name: str) -> dict[str, dict[str, Any]]:
    """Every case of a file: its arrays, and its arguments under "params"."""
    cases: dict[str, dict[str, Any]] = {}
    with np.load(GOLDEN / f"{name}.npz") as file:
        for key in file.files:
            case, _, array = key.rpartition("/")
            cases.setdefault(case, {})[array] = json.loads(str(file[key])) if array == "params" else file[key]
    return cases


def answered(name: str) -> list[str]:
    """The cases of a file that this version has an operator for."""
    cases = recorded(name)
    return [
        case for case, arrays in cases.items() if arrays["params"].get("mode", "avg") == "avg" or name == MAX_OF_SAMPLES
    ]


def each(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", answered(name))


@pytest.mark.parametrize("name", COUNTS)
def test_no_file_is_empty(name: str) -> None:
    assert (len(recorded(name)), len(answered(name))) == COUNTS[name]
    for case in answered(name):
        assert recorded(name)[case]["output"].size > 0


@each("torchvision_roi_align")
def test_torchvision_roi_align(case: str, backend_name: str) -> None:
    arrays = recorded("torchvision_roi_align")[case]
    params = arrays["params"]
    more: dict[str, Any] = {"aligned": params["aligned"], "backend": backend_name}
    common = (params["spatial_scale"], params["sampling_ratio"])
    output = roialign.roi_align(arrays["features"], arrays["rois"], tuple(params["output_size"]), *common, **more)
    assert_close(output, arrays["output"], "float64", float(np.abs(arrays["features"]).max()), "output")
    gradient, _ = roialign.roi_align_backward(
        arrays["grad_output"], arrays["features"], arrays["rois"], *common, need=("features",), **more
    )
    assert gradient is not None
    magnitude, _ = roialign.roi_align_backward(
        np.abs(arrays["grad_output"]), arrays["features"], arrays["rois"], *common, need=("features",), **more
    )
    assert_close(gradient, arrays["grad_features"], "float64", magnitude, "grad_features")


@each("torchvision_multiscale_roi_align")
def test_torchvision_multiscale_roi_align(case: str, backend_name: str) -> None:
    arrays = recorded("torchvision_multiscale_roi_align")[case]
    params = arrays["params"]
    features = [arrays[level] for level in ("p2", "p3", "p4", "p5")]
    output = roialign.multiscale_roi_align(
        features,
        list(arrays["boxes"]),
        tuple(params["output_size"]),
        params["scales"],
        params["sampling_ratio"],
        canonical_size=params["canonical_scale"],
        canonical_level=params["canonical_level"],
        aligned=params["aligned"],
        backend=backend_name,
    )
    assert_close(output, arrays["output"], "float64", max(float(np.abs(level).max()) for level in features))
    levels = roialign.fpn_levels(list(arrays["boxes"]), params["scales"])
    assert set(levels.tolist()) == {0, 1, 2}, "the recorded boxes lie on several levels"


#: Every recorded gradient is a sum of at most this many terms of a gradient's largest value.
TERMS = 600


def check_single_map(
    name: str, case: str, function: str, backend_name: str, gradient: bool = True, **more: Any
) -> None:
    """Forward and feature gradients of an operator on one map, in float64."""
    arrays = recorded(name)[case]
    params, features, rois = arrays["params"], arrays["features"], more.pop("rois", arrays["rois"])
    options: dict[str, Any] = {"spatial_scale": params["spatial_scale"], "backend": backend_name, **more}
    if "sampling_ratio" in params:
        options["sampling_ratio"] = params["sampling_ratio"]
    output = getattr(roialign, function)(features, rois, tuple(params["output_size"]), **options)
    assert_close(output, arrays["output"], "float64", float(np.abs(features).max()), "output")
    if gradient:
        answer = getattr(roialign, f"{function}_backward")(arrays["grad_output"], features, rois, **options)
        answer = answer[0] if isinstance(answer, tuple) else answer
        scale = TERMS * float(np.abs(arrays["grad_output"]).max())
        assert_close(answer, arrays["grad_features"], "float64", scale, "grad_features")


@each("torchvision_roi_pool")
def test_torchvision_roi_pool(case: str, backend_name: str) -> None:
    check_single_map("torchvision_roi_pool", case, "roi_pool", backend_name)


@each("torchvision_ps_roi_align")
def test_torchvision_ps_roi_align(case: str, backend_name: str) -> None:
    check_single_map("torchvision_ps_roi_align", case, "ps_roi_align", backend_name)


@each("torchvision_ps_roi_pool")
def test_torchvision_ps_roi_pool(case: str, backend_name: str) -> None:
    """Forward alone: its gradient is not that of its forward, which never reads a map's last row and column."""
    check_single_map("torchvision_ps_roi_pool", case, "ps_roi_pool", backend_name, gradient=False)
    arrays = recorded("torchvision_ps_roi_pool")[case]
    params, features = arrays["params"], arrays["features"]
    gradient = roialign.ps_roi_pool_backward(
        arrays["grad_output"], features, arrays["rois"], params["spatial_scale"], backend=backend_name
    )
    assert np.abs(gradient[:, :, -1]).max() == np.abs(gradient[:, :, :, -1]).max() == 0
    scale = float(np.abs(arrays["grad_output"]).sum() * np.abs(features).max())
    left, right = np.sum(gradient * features), np.sum(arrays["output"] * arrays["grad_output"])
    assert_close(np.asarray(left), np.asarray(right), "float64", scale, "the transpose")


@each("mmcv_roi_align_max")
def test_mmcv_roi_align_max(case: str, backend_name: str) -> None:
    aligned = recorded("mmcv_roi_align_max")[case]["params"]["aligned"]
    check_single_map("mmcv_roi_align_max", case, "roi_align", backend_name, aligned=aligned, mode="max")


@each("mmcv_roi_align_rotated")
def test_mmcv_roi_align_rotated(case: str, backend_name: str) -> None:
    params = recorded("mmcv_roi_align_rotated")[case]["params"]
    more = {"aligned": params["aligned"], "clockwise": params["clockwise"]}
    check_single_map("mmcv_roi_align_rotated", case, "roi_align_rotated", backend_name, **more)


@each("detectron2_roi_align_rotated")
def test_detectron2_roi_align_rotated(case: str, backend_name: str) -> None:
    """Its angles are in degrees, and so rounded on their way to radians."""
    rois = recorded("detectron2_roi_align_rotated")[case]["rois"].copy()
    rois[:, 5] = np.deg2rad(rois[:, 5])
    check_single_map("detectron2_roi_align_rotated", case, "roi_align_rotated", backend_name, rois=rois)


@each("onnxruntime_roi_align")
def test_onnxruntime_roi_align(case: str, backend_name: str) -> None:
    """It maps and cuts boxes in float32, which moves a sample point by 1e-5 px: hence the wider row of the table.

    Only mean pooling: its maximum is over the products of weight and pixel, not over the interpolated samples.
    """
    arrays = recorded("onnxruntime_roi_align")[case]
    params = arrays["params"]
    output = roialign.roi_align(
        arrays["features"],
        arrays["rois"],
        tuple(params["output_size"]),
        params["spatial_scale"],
        params["sampling_ratio"],
        aligned=params["aligned"],
        backend=backend_name,
    )
    assert output.dtype == np.float32
    assert_close(output, arrays["output"].astype(np.float64), "peer float32", float(np.abs(arrays["features"]).max()))


@each("tensorflow_crop_and_resize")
def test_tensorflow_crop_and_resize(case: str, backend_name: str) -> None:
    """Float32 throughout, so the wider row; its boxes are (y1, x1, y2, x2), as ours are."""
    arrays = recorded("tensorflow_crop_and_resize")[case]
    params, image = arrays["params"], arrays["image"]
    where = (arrays["boxes"], arrays["box_indices"])
    more: dict[str, Any] = {"extrapolation_value": params["extrapolation_value"], "backend": backend_name}
    output = roialign.crop_and_resize(image, *where, tuple(params["crop_size"]), params["method"], **more)
    largest = max(float(np.abs(image).max()), abs(params["extrapolation_value"]))
    assert_close(output, arrays["output"].astype(np.float64), "peer float32", largest, "output")
    gradient = arrays["grad_output"]
    grad_image, grad_boxes = roialign.crop_and_resize_backward(gradient, image, *where, params["method"], **more)
    assert grad_image is not None
    assert grad_boxes is not None
    largest_gradient = float(np.abs(arrays["grad_image"]).max())
    assert_close(grad_image, arrays["grad_image"].astype(np.float64), "peer float32", largest_gradient, "grad_image")
    if params["method"] == "nearest":
        assert not grad_boxes.any(), "a nearest pixel does not move"
        return
    largest_gradient = float(np.abs(arrays["grad_boxes"]).max())
    assert_close(grad_boxes, arrays["grad_boxes"].astype(np.float64), "peer float32", largest_gradient, "grad_boxes")
