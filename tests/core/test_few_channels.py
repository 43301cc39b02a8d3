"""Masks, images and score maps: a few channels, whose planes or whose adjacent pixels fill the vectors."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import roialign
from tests.tables.cases import Array
from tests.tables.tolerances import assert_close, assert_same_bits

#: Small and large bins, boxes that are inverted, that cover the map, that lie beyond it, and one without an extent.
BOXES = np.array(
    [
        [0, 3.3, 2.1, 11.9, 9.4],
        [1, 0.4, 0.7, 46.8, 37.2],
        [0, -20.0, -8.0, 70.0, 60.0],
        [1, 30.0, 25.0, 12.0, 6.5],
        [0, 90.0, 80.0, 120.0, 99.0],
        [1, 17.5, 13.0, 17.5, 13.0],
    ]
)
SAMPLING: dict[str, dict[str, Any]] = {
    "2 x 2": {"sampling_ratio": 2},
    "adaptive": {"sampling_ratio": 0},
    "exact": {"sampling": "exact"},
}


def layouts_of(values: Array) -> dict[str, Array]:
    """The same ``[N, C, H, W]`` in planes, with adjacent channels, mirrored, and with gaps."""
    gaps = np.repeat(np.repeat(values, 2, axis=1), 3, axis=3)
    return {
        "planes": values,
        "adjacent channels": np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "mirrored": np.ascontiguousarray(values[:, :, ::-1, ::-1])[:, :, ::-1, ::-1],
        "gaps": gaps[:, ::2, :, ::3],
        "columns of pixels": np.ascontiguousarray(values.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1),
    }


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8, 13, 15, 16, 17])
def test_every_layout_has_the_same_bits_and_they_are_right(channels: int, sampling: str) -> None:
    rng = np.random.default_rng(channels)
    wide = rng.standard_normal((2, channels, 39, 48))
    gradient = rng.standard_normal((len(BOXES), channels, 6, 9))
    options = SAMPLING[sampling]
    for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
        name = np.dtype(dtype).name
        rounded, rounded_gradient = (values.astype(dtype).astype(np.float64) for values in (wide, gradient))
        right = roialign.roi_align(rounded, BOXES, (6, 9), backend="reference", **options)
        right_gradient, _ = roialign.roi_align_backward(
            rounded_gradient, rounded, BOXES, need="features", backend="reference", **options
        )
        answers, gradients = [], []
        for features, given in zip(
            layouts_of(wide.astype(dtype)).values(), layouts_of(gradient.astype(dtype)).values(), strict=True
        ):
            answers.append(roialign.roi_align(features, BOXES, (6, 9), **options))
            grad, _ = roialign.roi_align_backward(given, features, BOXES, need="features", **options)
            gradients.append(grad)
        assert_close(answers[0], right, name, float(np.abs(wide).max()), "forward")
        assert_close(gradients[0], right_gradient, name, float(np.abs(right_gradient).max()), "gradient")
        for other in answers[1:]:
            assert_same_bits(other, answers[0])
        for other in gradients[1:]:
            assert_same_bits(other, gradients[0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("channels", [2, 3, 40, 70])
def test_pixels_between_the_taps_may_be_anything(channels: int, dtype: type) -> None:
    """A few points in large boxes: whole rows are read, but only the pixels of taps count."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1, channels, 60, 80)).astype(dtype)
    boxes = np.array([[0, 2.0, 3.0, 78.0, 58.0], [0, 5.0, 1.0, 70.0, 55.0]])
    touched = [np.zeros(60, dtype=bool), np.zeros(80, dtype=bool)]
    for _, x1, y1, x2, y2 in boxes:
        for pixels, start, length in zip(touched, (y1 - 0.5, x1 - 0.5), (y2 - y1, x2 - x1), strict=True):
            pixels |= (roialign.taps(len(pixels), start, length, 2, 1) != 0).any(axis=0)
    spoilt = values.copy()
    spoilt[:, :, ~touched[0], :] = np.nan
    spoilt[:, :, :, ~touched[1]] = np.inf
    assert 0 < np.isfinite(spoilt[0, 0]).sum() <= 8 * 8
    for layout, features in layouts_of(values).items():
        expected = roialign.roi_align(features, boxes, 2, sampling_ratio=1)
        found = roialign.roi_align(layouts_of(spoilt)[layout], boxes, 2, sampling_ratio=1)
        assert_same_bits(found, expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, np.float32), (3, np.float32), (1, ml_dtypes.bfloat16), (3, ml_dtypes.bfloat16)]
)
def test_a_gradient_that_is_larger_than_the_caches(channels: int, dtype: type, layout: str) -> None:
    """It is written past the caches, in runs that begin anywhere. Its middle is the gradient of a small map."""
    height, width, far = 1451, 2077 if channels == 3 else 6301, 1000
    assert channels * height * width * np.dtype(dtype).itemsize > 16 << 20
    near = np.array([[0, 4.25, 5.5, 40.0, 33.25], [0, 0.5, 2.0, 61.5, 21.0]])
    gradient = np.random.default_rng(3).standard_normal((2, channels, 7, 7)).astype(dtype)
    window = np.zeros((1, channels, 48, 64), dtype=dtype)
    large = np.zeros((1, channels, height, width), dtype=dtype)
    if layout == "NHWC":
        gradient, window, large = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (gradient, window, large))
    options: dict[str, Any] = {"sampling_ratio": 2, "layout": layout, "need": "features"}
    expected, _ = roialign.roi_align_backward(gradient, window, near, **options)
    found, _ = roialign.roi_align_backward(gradient, large, near + np.array([0, far, far, far, far]), **options)
    rows, columns = slice(far, far + 48), slice(far, far + 64)
    place: Any = (slice(None), rows, columns) if layout == "NHWC" else (slice(None), slice(None), rows, columns)
    assert_same_bits(np.ascontiguousarray(found[place]), expected)
    found[place] = 0
    assert not found.any()


@pytest.mark.parametrize("channels", [1, 3, 15, 16])
def test_many_points(channels: int) -> None:
    """One bin of one point: more of them than are computed at once, on pixel centres and beyond the map too."""
    rng = np.random.default_rng(channels)
    points = rng.uniform(-3.0, 42.0, (2500, 2))
    points[::3] = np.round(points[::3])
    rows = np.concatenate([rng.integers(0, 2, (2500, 1)), points, points], axis=1)
    wide = rng.standard_normal((2, channels, 39, 37))
    for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
        features = wide.astype(dtype)
        options: dict[str, Any] = {"sampling_ratio": 1, "aligned": True}
        right = roialign.roi_align(features.astype(np.float64), rows, 1, backend="reference", **options)
        answers = [roialign.roi_align(layout, rows, 1, **options) for layout in layouts_of(features).values()]
        assert_close(answers[0], right, np.dtype(dtype).name, float(np.abs(wide).max()), "forward")
        for other in answers[1:]:
            assert_same_bits(other, answers[0])


@pytest.mark.parametrize("values", ["random", "equal", "no numbers"])
@pytest.mark.parametrize("channels", [1, 3, 4, 8, 13, 17, 67])
def test_largest_pixels_in_every_layout(channels: int, values: str) -> None:
    """Of equal pixels the first wins, in row-major order. NaN wins over all numbers."""
    rng = np.random.default_rng(channels)
    wide = rng.standard_normal((2, channels, 39, 48))
    if values != "random":
        wide = np.round(wide)  # also -0
    if values == "no numbers":
        wide[rng.random(wide.shape) < 0.02] = np.nan
        wide[rng.random(wide.shape) < 0.1] = -np.inf
        wide[0, :, :8] = -np.inf
    gradient = np.round(rng.standard_normal((len(BOXES), channels, 6, 9)) * 4)  # sums of these are exact
    for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
        features, given = wide.astype(dtype), gradient.astype(dtype)
        exact = features.astype(np.float64)
        right = roialign.roi_pool(exact, BOXES, (6, 9), backend="reference")
        right_gradient, _ = roialign.roi_pool_backward(gradient, exact, BOXES, backend="reference")
        gradients = layouts_of(given)
        for name, layout in layouts_of(features).items():
            pooled = roialign.roi_pool(layout, BOXES, (6, 9), backend="cpu")
            np.testing.assert_array_equal(pooled.astype(np.float64), right, err_msg=name)
            answer, _ = roialign.roi_pool_backward(gradients[name], layout, BOXES, backend="cpu")
            np.testing.assert_array_equal(np.asarray(answer).astype(np.float64), right_gradient, err_msg=name)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("channels", [1, 3, 4, 17, 1025])
def test_of_several_nan_the_first_is_the_maximum(channels: int) -> None:
    """Also if a thread has few of many channels, which it pools another way."""
    first, second = (np.array(bits, dtype=np.uint32).view(np.float32) for bits in (0x7FC00001, 0xFFC00002))
    features = np.zeros((1, channels, 8, 8), dtype=np.float32)
    features[:, :, 0, 5], features[:, :, 3, 1] = first, second
    for count in (1, 2, 3):
        roialign.set_num_threads(count)
        pooled = roialign.roi_pool(features, np.array([[0, 0.0, 0.0, 7.0, 7.0]]), 1)
        assert_same_bits(pooled, np.full_like(pooled, first), f"{count} threads")
