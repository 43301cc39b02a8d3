"""What a user can get wrong in crop_and_resize, whose boxes and indices have names of their own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import roialign
from tests.ops.test_bad_input import Tensor
from tests.tables.calls import CROPS, features_of, rois_of

GOOD, ROIS = features_of(), rois_of()
BOXES, INDICES = ROIS[:, 1:], np.array([0, 1, 0])


@pytest.mark.parametrize("name", CROPS)
def test_crop_and_resize_arguments(name: str) -> None:
    image, boxes = GOOD.transpose(0, 2, 3, 1), 0.1 * BOXES
    wrong = boxes.copy()
    wrong[1, 2] = np.nan
    rows: list[tuple[Any, Any, Any, dict[str, Any], type[Exception], str]] = [
        (
            Tensor(),
            boxes,
            INDICES,
            {},
            TypeError,
            "features: expected a numpy.ndarray, like the other arguments, got torch.Tensor",
        ),
        (
            image,
            Tensor(),
            INDICES,
            {},
            TypeError,
            "boxes: expected a numpy.ndarray, like the other arguments, got torch.Tensor",
        ),
        (image, ROIS, INDICES, {}, ValueError, "boxes: expected shape [K, 4], got (3, 5)"),
        (image, boxes > 0, INDICES, {}, TypeError, "boxes: expected a real dtype (float or integer), got bool"),
        (image, boxes, [0, 1, 0], {}, TypeError, "box_indices: expected a numpy.ndarray, got builtins.list"),
        (image, boxes, INDICES[:2], {}, ValueError, "box_indices: expected shape [3], one per row of boxes, got (2,)"),
        (image, boxes, INDICES * 1.0, {}, TypeError, "box_indices: expected an integer dtype, got float64"),
        (
            image,
            boxes,
            INDICES + 1,
            {},
            ValueError,
            "box_indices[1]: expected an integer batch index 0 <= index < 2",
        ),
        (image, wrong, INDICES, {}, ValueError, "boxes[1]: expected finite coordinates, got ("),
        (
            image,
            boxes,
            INDICES,
            {"method": "cubic"},
            ValueError,
            "method: expected one of 'bilinear', 'nearest', got 'cubic'",
        ),
        (
            image,
            boxes,
            INDICES,
            {"extrapolation_value": np.nan},
            ValueError,
            "extrapolation_value: expected a finite number, got nan",
        ),
        (
            image,
            boxes,
            INDICES,
            {"extrapolation_value": "0"},
            TypeError,
            "extrapolation_value: expected a number, got '0'",
        ),
        (image, boxes, INDICES, {"layout": "HWC"}, ValueError, "layout: expected one of 'NCHW', 'NHWC', got 'HWC'"),
    ]
    for features, given, indices, more, error, text in rows:
        with pytest.raises(error, match=re.escape(text)):
            CROPS[name](features, given, indices, backend="reference", **more)


def test_an_error_shows_a_box_in_the_order_that_the_caller_gave_it() -> None:
    boxes = np.array([[0.1, 0.2, 0.3, np.inf]])
    with pytest.raises(ValueError, match=re.escape("boxes[0]: expected finite coordinates, got (0.1, 0.2, 0.3, inf)")):
        roialign.crop_and_resize(GOOD.transpose(0, 2, 3, 1), boxes, np.array([0]), 2, backend="reference")
