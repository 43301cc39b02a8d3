"""What other systems answered (tests/golden), against every backend."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

import roialign
from roialign.reference import integer_bins, roi_pool

Array = np.ndarray[Any, np.dtype[Any]]

GOLDEN = Path(__file__).parent / "golden"

#: Cases in every file, and of these the ones that an operator of this version answers.
COUNTS = {
    "torchvision_roi_align": (96, 96),
    "torchvision_multiscale_roi_align": (3, 3),
    "torchvision_roi_pool": (12, 12),
    "onnxruntime_roi_align": (144, 96),
    "tensorflow_crop_and_resize": (12, 6),
}


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
        case
        for case, arrays in cases.items()
        if arrays["params"].get("mode", "avg") == "avg" and arrays["params"].get("method", "bilinear") == "bilinear"
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


@each("torchvision_roi_pool")
def test_torchvision_roi_pool(case: str) -> None:
    """The reference's RoIPool: forward, and the gradient by giving every maximum its share back."""
    arrays = recorded("torchvision_roi_pool")[case]
    params, features = arrays["params"], arrays["features"]
    size, scale = tuple(params["output_size"]), params["spatial_scale"]
    output = roi_pool(features, arrays["rois"], size, scale)
    np.testing.assert_array_equal(output, arrays["output"])
    gradient = np.zeros_like(features)
    for k, (image, x1, y1, x2, y2) in enumerate(arrays["rois"].tolist()):
        rows = integer_bins(y1, y2, scale, size[0], features.shape[2])
        columns = integer_bins(x1, x2, scale, size[1], features.shape[3])
        for (i, (top, bottom)), (j, (left, right)) in ((a, b) for a in enumerate(rows) for b in enumerate(columns)):
            if bottom > top and right > left:
                for channel, cut in enumerate(features[int(image), :, top:bottom, left:right]):
                    y, x = np.unravel_index(int(cut.argmax()), cut.shape)
                    gradient[int(image), channel, top + y, left + x] += arrays["grad_output"][k, channel, i, j]
    assert_close(gradient, arrays["grad_features"], "float64", float(np.abs(arrays["grad_output"]).sum()))


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
    largest_gradient = float(np.abs(arrays["grad_boxes"]).max())
    assert_close(grad_boxes, arrays["grad_boxes"].astype(np.float64), "peer float32", largest_gradient, "grad_boxes")
