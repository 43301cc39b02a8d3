"""What a user can get wrong in the functions that take no RoIs of images: points, levels, taps, threads."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import roialign
from roialign._spec import BORDER_OF_RULE
from tests.tables.calls import features_of, rois_of

GOOD = features_of()
BOXES = rois_of()[:, 1:]
NAN_BOXES = np.where(np.arange(12).reshape(3, 4) == 6, np.nan, BOXES)

POINTS: list[tuple[Any, Any, Any, type[Exception], str]] = [
    ([[1.0]], 0.0, 0.0, TypeError, "features: expected a numpy.ndarray, got builtins.list"),
    (np.ones(3), 0.0, 0.0, ValueError, "features: expected at least 2 dimensions [..., H, W], got shape (3,)"),
    (np.ones((2, 0)), 0.0, 0.0, ValueError, "expected a map of at least 1 x 1 pixels"),
    (
        np.ones((2, 2), dtype=int),
        0.0,
        0.0,
        TypeError,
        "features: expected dtype float64, float32, float16, bfloat16, got int64",
    ),
    (GOOD, "0", 0.0, TypeError, "x: expected real coordinates, got dtype <U1"),
    (GOOD, 0.0, 1j, TypeError, "y: expected real coordinates, got dtype complex128"),
    (GOOD, np.nan, 0.0, ValueError, "x: expected a finite coordinate, got nan"),
    (GOOD, [0.0, np.inf], 0.0, ValueError, "x[1]: expected a finite coordinate, got inf"),
    (GOOD, 0.0, [[0.0], [-np.inf]], ValueError, "y[1, 0]: expected a finite coordinate, got -inf"),
    (GOOD, np.zeros(3), np.zeros(2), ValueError, "y: expected a shape that broadcasts with x, (3,), got (2,)"),
]

TAPS: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((0, 0.0, 1.0, 1), {}, ValueError, "size: expected at least 1, got 0"),
    ((2.0, 0.0, 1.0, 1), {}, TypeError, "size: expected an int, got 2.0"),
    ((2, np.nan, 1.0, 1), {}, ValueError, "start: expected a finite number, got nan"),
    ((2, 0.0, np.inf, 1), {}, ValueError, "length: expected a finite number, got inf"),
    ((2, 1e101, 1.0, 1), {}, ValueError, "start, length: expected magnitudes of at most 1e100, got 1e+101 and 1.0"),
    ((2, 0.0, 1.0, 0), {}, ValueError, "bins: expected at least 1, got 0"),
    ((2, 0.0, 1.0, 1, -2), {}, ValueError, "sampling_ratio: expected at least -1, got -2"),
    (
        (2, 0.0, 1.0, 1, 0, "mean"),
        {},
        ValueError,
        f"rule: expected one of {', '.join(map(repr, BORDER_OF_RULE))}, got 'mean'",
    ),
    (
        (2, 0.0, 1.0, 1),
        {"derivative": (2, 1)},
        ValueError,
        "derivative: expected orders of (start, length) with a sum of at most 2",
    ),
    ((2, 0.0, 1.0, 1), {"derivative": (-1, 1)}, ValueError, "derivative: expected at least 0, got (-1, 1)"),
    ((2, 0.0, 1.0, 1), {"derivative": (3, 0)}, ValueError, "derivative: expected at most 2, got (3, 0)"),
    ((2, 0.0, 1.0, 1), {"seed": -1}, ValueError, "seed: expected 0 <= seed < 2**64, got -1"),
    ((2, 0.0, 1.0, 1), {"backend": "numpy"}, ValueError, "backend: expected one of 'cpu', 'reference', got 'numpy'"),
]

LEVELS: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    ("boxes", [0.25], {}, TypeError, "rois: expected a numpy.ndarray, got builtins.str"),
    (BOXES[0], [0.25], {}, ValueError, "rois: expected shape [K, 4] or [K, 5], got (4,)"),
    (BOXES[:, :3], [0.25], {}, ValueError, "rois: expected shape [K, 4] or [K, 5], got (3, 3)"),
    ([BOXES, rois_of()], [0.25], {}, ValueError, "rois[1]: expected shape [K, 4], got (3, 5)"),
    (BOXES > 1, [0.25], {}, TypeError, "rois: expected a real dtype (float or integer), got bool"),
    (NAN_BOXES, [0.25], {}, ValueError, "rois[1]: expected finite coordinates, got (0.0, 2.0, nan, 4.0)"),
    ([BOXES, NAN_BOXES], [0.25], {}, ValueError, "rois[1][1]: expected finite coordinates, got (0.0, 2.0, nan, 4.0)"),
    (BOXES, 0.25, {}, TypeError, "spatial_scales: expected a sequence of numbers, got 0.25"),
    (BOXES, "1", {}, TypeError, "spatial_scales: expected a sequence of numbers, got '1'"),
    (BOXES, [], {}, ValueError, "spatial_scales: expected one scale per level (at least 1), got 0"),
    (BOXES, [0.25, -1], {}, ValueError, "spatial_scales[1]: expected a positive number, got -1"),
    (BOXES, [0.25, "x"], {}, TypeError, "spatial_scales[1]: expected a number, got 'x'"),
    (
        BOXES,
        [0.25, 0.25],
        {},
        ValueError,
        "spatial_scales: expected strictly decreasing scales, finest level first, got [0.25, 0.25]",
    ),
    (BOXES, [0.25], {"canonical_size": -1}, ValueError, "canonical_size: expected a positive number, got -1"),
    (BOXES, [0.25], {"canonical_level": np.nan}, ValueError, "canonical_level: expected a finite number, got nan"),
]


@pytest.mark.parametrize(("features", "x", "y", "error", "text"), POINTS, ids=[row[-1] for row in POINTS])
def test_bilinear_interpolate(features: Any, x: Any, y: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        roialign.bilinear_interpolate(features, x, y, backend="reference")
    with pytest.raises(error, match=re.escape(text)):
        roialign.bilinear_interpolate_backward(np.ones((2, 3)), features, x, y, backend="reference")


def test_bilinear_interpolate_backward() -> None:
    rows: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (np.ones((2, 3, 2)), {}, ValueError, "grad_output: expected shape (2, 3), got (2, 3, 2)"),
        (
            np.ones((2, 3), np.float32),
            {},
            TypeError,
            "grad_output: expected the dtype of features, float64, got float32",
        ),
        (1.0, {}, TypeError, "grad_output: expected a numpy.ndarray, got builtins.float"),
        (np.ones((2, 3)), {"need": ("x",)}, ValueError, "need: expected one of 'features', 'points', got 'x'"),
    ]
    for gradient, more, error, text in rows:
        with pytest.raises(error, match=re.escape(text)):
            roialign.bilinear_interpolate_backward(gradient, GOOD, 1.0, 2.0, backend="reference", **more)


@pytest.mark.parametrize(("arguments", "more", "error", "text"), TAPS, ids=[row[-1] for row in TAPS])
def test_taps(arguments: Any, more: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        roialign.taps(*arguments, **{"backend": "reference", **more})


@pytest.mark.parametrize(("rois", "scales", "more", "error", "text"), LEVELS, ids=[row[-1] for row in LEVELS])
def test_fpn_levels(rois: Any, scales: Any, more: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        roialign.fpn_levels(rois, scales, **more)


@pytest.mark.parametrize(
    ("count", "error", "text"),
    [
        (0, ValueError, "count: expected at least 1, got 0"),
        (-3, ValueError, "count: expected at least 1, got -3"),
        (1025, ValueError, "count: expected at most 1024, got 1025"),
        (2.0, TypeError, "count: expected an int"),
        (True, TypeError, "count: expected an int"),
        ("2", TypeError, "count: expected an int"),
        (None, TypeError, "count: expected an int"),
        ((1, 2), TypeError, "count: expected an int"),
    ],
)
@pytest.mark.usefixtures("threads")
def test_set_num_threads(count: Any, error: type[Exception], text: str) -> None:
    before = roialign.get_num_threads()
    with pytest.raises(error, match=re.escape(text)):
        roialign.set_num_threads(count)
    assert roialign.get_num_threads() == before


def test_a_size_is_one_number() -> None:
    """Of an axis: no pair, though other sizes are pairs."""
    for arguments in ((((4, 5)), 0.0, 1.0, 1), (4, 0.0, 1.0, (2, 3)), (4, 0.0, 1.0, 1, (2, 3))):
        with pytest.raises(TypeError, match="expected an int"):
            roialign.taps(*arguments, backend="reference")  # type: ignore[arg-type]
