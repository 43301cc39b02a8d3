"""What a user can get wrong about the pointwise operators: the error names the argument and the row."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import roialign
from tests.tables.calls import features_of, rois_of

GOOD, ROIS = features_of(), rois_of()

TURNED = np.array([[0, 3.0, 3.0, 4.0, 2.0, 0.5], [1, 2.0, 4.0, 3.0, 5.0, -1.0]])
OFFSET = np.zeros((3, 2, 2, 2))
SIX = np.ones((2, 6, 5, 5))
POINTWISE: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (
        roialign.roi_align_rotated,
        (GOOD, ROIS, 2),
        {},
        ValueError,
        "rois: expected shape [K, 6] with rows (image, centre x, centre y, width, height, angle), got (3, 5); give "
        "boxes of shape [K, 5] as a list with one item per image, or together with batch_indices",
    ),
    (roialign.roi_align_rotated, (GOOD, TURNED[:, :4], 2), {}, ValueError, "rois: expected shape [K, 6], got (2, 4)"),
    (
        roialign.roi_align_rotated,
        (GOOD, TURNED + np.array([9, 0, 0, 0, 0, 0]), 2),
        {},
        ValueError,
        "rois[0]: expected an integer batch index 0 <= index < 2, got 9",
    ),
    (
        roialign.roi_align_rotated,
        (GOOD, TURNED * np.array([1, 1, 1, 1, 1, np.nan]), 2),
        {},
        ValueError,
        "rois[0]: expected finite coordinates, got (3.0, 3.0, 4.0, 2.0, nan)",
    ),
    (
        roialign.roi_align_rotated,
        (GOOD, TURNED, 2),
        {"sampling": "exact"},
        ValueError,
        "sampling: expected 'grid' or 'random', got 'exact', which rotated boxes do not support",
    ),
    (roialign.roi_align_rotated, (GOOD, TURNED, 2, 1.0, 257), {}, ValueError, "sampling_ratio: expected at most 256"),
    (
        roialign.riroi_align_rotated,
        (GOOD, TURNED, 2),
        {"num_orientations": 2},
        ValueError,
        "features: expected a multiple of num_orientations (2) channels, got 3",
    ),
    (
        roialign.riroi_align_rotated,
        (GOOD, TURNED, 2),
        {"num_orientations": 0},
        ValueError,
        "num_orientations: expected at least 1, got 0",
    ),
    (
        roialign.ps_roi_align,
        (GOOD, ROIS, 2),
        {},
        ValueError,
        "features: expected a multiple of PH * PW = 4 channels, got 3",
    ),
    (
        roialign.ps_roi_pool_backward,
        (np.ones((3, 1, 2, 3)), SIX, ROIS),
        {"backend": "triton"},
        ValueError,
        "backend: 'triton' needs CUDA tensors",
    ),
    (
        roialign.ps_roi_pool_backward,
        (np.ones((3, 2, 2, 3)), SIX, ROIS),
        {},
        ValueError,
        "grad_output: expected shape [3, 1, 'PH', 'PW'], got (3, 2, 2, 3)",
    ),
    (
        roialign.deform_roi_pool,
        (GOOD, ROIS, OFFSET[:2], 2),
        {},
        ValueError,
        "offset: expected shape [3, 2, 2, 2], got [2, 2, 2, 2]",
    ),
    (
        roialign.deform_roi_pool,
        (GOOD, ROIS, OFFSET * 1j, 2),
        {},
        TypeError,
        "offset: expected a real dtype (float or integer), got complex128",
    ),
    (
        roialign.deform_roi_pool,
        (GOOD, ROIS, OFFSET + np.array([0, np.nan, 0]).reshape(3, 1, 1, 1), 2),
        {},
        ValueError,
        "offset[1]: expected finite numbers up to 1e+100, got nan",
    ),
    (
        roialign.deform_roi_pool,
        (GOOD, ROIS, OFFSET - np.array([0, 0, 1e101]).reshape(3, 1, 1, 1), 2),
        {},
        ValueError,
        "offset[2]: expected finite numbers up to 1e+100, got -1e+101",
    ),
    (
        roialign.deform_roi_pool,
        (GOOD, ROIS, OFFSET, 2),
        {"mask": np.ones((3, 1, 2, 2))},
        ValueError,
        "mask: expected shape [3, 2, 2], got [3, 1, 2, 2]",
    ),
    (roialign.deform_roi_pool, (GOOD, ROIS, OFFSET, 2, 1.0, 0, np.inf), {}, ValueError, "gamma: expected a finite"),
    (roialign.roi_pool, (GOOD, ROIS, 0), {}, ValueError, "output_size: expected at least 1, got 0"),
]


@pytest.mark.parametrize(
    ("function", "arguments", "more", "error", "text"), POINTWISE, ids=[row[-1] for row in POINTWISE]
)
def test_pointwise_arguments(
    function: Any, arguments: Any, more: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        function(*arguments, **more)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_rows_that_cannot_be_pooled_are_zero_where_asked_for(backend: str) -> None:
    """A row with an image, a coordinate or a bin offset that is none: its features and its gradients are zero."""
    more: Any = {"invalid": "zero", "backend": backend}
    turned = np.concatenate(
        [TURNED, TURNED * np.array([-1, 1, 1, 1, 1, 1]) - np.array([1, 0, 0, 0, 0, 0]), np.full_like(TURNED, np.inf)]
    )[:5]
    pooled = roialign.roi_align_rotated(GOOD, turned, 2, **more)
    assert pooled[:2].any(axis=(1, 2, 3)).all()
    assert not pooled[2:].any()
    gradient, grad_rois = roialign.roi_align_rotated_backward(np.ones_like(pooled), GOOD, turned, **more)
    right, _ = roialign.roi_align_rotated_backward(np.ones_like(pooled[:2]), GOOD, turned[:2], backend=backend)
    np.testing.assert_array_equal(gradient, right)
    assert not grad_rois[2:].any()
    offset = OFFSET.copy()
    offset[1, 0, 0, 0] = np.nan
    moved = roialign.deform_roi_pool(GOOD, ROIS, offset, 2, **more)
    assert not moved[1].any()
    assert moved[[0, 2]].any(axis=(1, 2, 3)).all()
    answers = roialign.deform_roi_pool_backward(np.ones_like(moved), GOOD, ROIS, offset, **more)
    assert np.isfinite(answers[2]).all()
    assert not answers[1][1].any()
