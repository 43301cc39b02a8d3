"""What holds for every box, on boxes that a machine thinks up."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import roialign
from roialign._regions import Regions
from roialign._spec import BORDER_OF_RULE, SeparableSpec
from roialign.numpy.cpu import separable as cpu
from roialign.reference import separable
from roialign.reference.taps import taps
from tests.tables.answers import roi_scales
from tests.tables.cases import CROP_FILL, PRROI, Array, roi_align_spec
from tests.tables.tolerances import assert_close

settings.register_profile(
    "roialign", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "roialign"))

HEIGHT, WIDTH = 6, 9
FEATURES = np.random.default_rng(11).standard_normal((2, 2, HEIGHT, WIDTH))
LARGEST = float(np.abs(FEATURES).max())

ordinary = st.floats(-12, 20, allow_nan=False, width=64)
dyadic = st.integers(-40, 80).map(lambda value: value / 4)
tiny = st.floats(-1e-6, 1e-6)
wild = st.floats(-1e100, 1e100, allow_nan=False, allow_infinity=False)
coordinates = st.one_of(ordinary, dyadic, tiny, wild)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates)
ordinary_boxes = st.one_of(st.tuples(*[ordinary] * 4), st.tuples(*[dyadic] * 4))
ratios = st.sampled_from([(0, 0), (1, 1), (2, 2), (3, 1), (0, 2)])
sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))
specs = st.one_of(
    st.builds(roi_align_spec, st.sampled_from(["grid", "random", "exact"]), ratios, st.booleans()),
    st.sampled_from([PRROI, CROP_FILL]),
)
SAMPLINGS = ["grid", "random", "exact"]


def rows_of(*given_boxes: tuple[float, ...]) -> Array:
    return np.array([[index % 2, *box] for index, box in enumerate(given_boxes)], dtype=np.float64)


@given(spec=specs, first=boxes, second=boxes, size=sizes, scale=st.sampled_from([1.0, 0.25, 1 / 14]))
def test_the_core_agrees_with_the_reference(
    spec: SeparableSpec, first: Any, second: Any, size: tuple[int, int], scale: float
) -> None:
    rois, levels = rows_of(first, second), np.zeros(2, dtype=np.int64)
    gradient = np.random.default_rng(2).standard_normal((2, 2, *size))
    scales = roi_scales(spec, [FEATURES], [scale], rois, levels, gradient)
    out, grad_features = np.full(gradient.shape, np.nan), [np.full(FEATURES.shape, np.nan)]
    common: Any = ([scale], rois, levels)
    cpu.forward(spec, [FEATURES], Regions(*common), out)
    assert_close(out, separable.forward(spec, [FEATURES], *common, size), "float64", LARGEST, "forward")
    cpu.adjoint_features(spec, gradient, (), Regions(*common), grad_features)
    (right,) = separable.adjoint_features(spec, gradient, [FEATURES.shape], *common)
    assert_close(grad_features[0], right, "float64", scales.adjoint_features[0][0], "adjoint_features")
    right = separable.adjoint_boxes(spec, gradient, [FEATURES], *common)
    answer = cpu.adjoint_geometry(spec, gradient, [FEATURES], Regions(*common)).boxes
    assert_close(answer, right, "float64", scales.adjoint_boxes[0], "adjoint_boxes")


@given(box=boxes, size=sizes, sampling=st.sampled_from(SAMPLINGS), ratio=ratios, aligned=st.booleans())
def test_no_answer_leaves_the_range_of_the_map(
    box: Any, size: tuple[int, int], sampling: str, ratio: tuple[int, int], aligned: bool
) -> None:
    """A mean of values of the map and of zeros beyond it."""
    answer = roialign.roi_align(
        FEATURES, rows_of(box), size, sampling_ratio=ratio, sampling=sampling, aligned=aligned, seed=4
    )
    assert np.abs(answer).max() <= LARGEST * (1 + 1e-12)


@given(
    y=st.tuples(st.floats(0, HEIGHT - 1), st.floats(0, HEIGHT - 1)),
    x=st.tuples(st.floats(0, WIDTH - 1), st.floats(0, WIDTH - 1)),
    size=sizes,
    value=st.floats(-1e3, 1e3),
)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_constant_map_gives_its_constant_inside(
    sampling: str, y: tuple[float, float], x: tuple[float, float], size: tuple[int, int], value: float
) -> None:
    constant = np.full((1, 1, HEIGHT, WIDTH), value)
    rois = np.array([[0, x[0] + 0.5, y[0] + 0.5, x[1] + 0.5, y[1] + 0.5]])
    answer = roialign.roi_align(constant, rois, size, 1.0, 3, sampling=sampling, seed=1)
    assert_close(answer, np.full(answer.shape, value), "float64", max(abs(value), 1e-300))


@given(box=ordinary_boxes, size=sizes, factors=st.tuples(st.floats(-4, 4), st.floats(-4, 4)))
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_linear_in_the_features(sampling: str, box: Any, size: tuple[int, int], factors: tuple[float, float]) -> None:
    def pooled(features: Array) -> Array:
        return roialign.roi_align(features, rows_of(box), size, sampling=sampling, seed=2)

    first, second = FEATURES, np.flip(FEATURES, axis=2)
    right = factors[0] * pooled(first) + factors[1] * pooled(second)
    assert_close(pooled(factors[0] * first + factors[1] * second), right, "float64", 8 * LARGEST)


@given(box=ordinary_boxes, size=sizes, shift=st.tuples(st.integers(0, 3), st.integers(0, 4)))
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_map_and_the_box_may_move_together(
    sampling: str, box: tuple[float, ...], size: tuple[int, int], shift: tuple[int, int]
) -> None:
    """Over a wide margin, so that no border comes near."""
    down, right_by = shift
    canvas = np.zeros((1, 2, 80, 90))
    canvas[:, :, 36 : 36 + HEIGHT, 36 : 36 + WIDTH] = FEATURES[:1]
    # On a grid of 2^-20, so that moving the box is exact.
    placed = np.round(np.array(box) * 2**20) / 2**20 + 36
    moved = np.roll(canvas, (down, right_by), axis=(2, 3))
    offsets = np.array([right_by, down, right_by, down])
    still = roialign.roi_align(canvas, rows_of(tuple(placed)), size, sampling=sampling, seed=6)
    answer = roialign.roi_align(moved, rows_of(tuple(placed + offsets)), size, sampling=sampling, seed=6)
    assert_close(answer, still, "float64", 100 * LARGEST)


@given(box=ordinary_boxes, size=sizes)
@pytest.mark.parametrize("sampling", ["grid", "exact"])
def test_transposing_the_map_the_box_and_the_answer(sampling: str, box: Any, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box
    upright = roialign.roi_align(FEATURES, rows_of(box), size, sampling_ratio=(0, 2), sampling=sampling)
    lying = roialign.roi_align(
        FEATURES.swapaxes(2, 3), rows_of((y1, x1, y2, x2)), size[::-1], sampling_ratio=(2, 0), sampling=sampling
    )
    assert_close(lying.swapaxes(2, 3), upright, "float64", LARGEST)


@given(low=st.floats(-9, 14), length=st.floats(-9, 20), bins=st.integers(1, 5), size=st.integers(1, 8))
def test_rows_of_exact_taps_sum_to_the_share_of_the_bin_on_the_map(
    low: float, length: float, bins: int, size: int
) -> None:
    edges = low + length * np.arange(bins + 1) / bins
    lower, upper = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    assume(abs(length) > 1e-9)
    matrix = roialign.taps(size, low, length, bins, rule="exact")
    share = (np.clip(upper, -1, size) - np.clip(lower, -1, size)) / (upper - lower)
    assert np.abs(matrix.sum(axis=1) - share).max() < 1e-6
    assert matrix.min() >= 0


@given(low=st.floats(-9, 14), length=st.floats(0.01, 20), size=st.integers(1, 8), parts=st.integers(2, 5))
def test_an_exact_bin_is_the_mean_of_its_parts(low: float, length: float, size: int, parts: int) -> None:
    whole = roialign.taps(size, low, length, 1, rule="exact")[0]
    assert_close(roialign.taps(size, low, length, parts, rule="exact").mean(axis=0), whole, "float64", 1.0)


@given(low=coordinates, high=coordinates, bins=st.integers(1, 4), size=st.integers(1, 6), ratio=st.integers(0, 3))
@pytest.mark.parametrize("rule", [rule for rule in BORDER_OF_RULE if rule != "nearest"])
def test_the_taps_of_the_core_are_those_of_the_reference(
    rule: Any, low: float, high: float, bins: int, size: int, ratio: int
) -> None:
    length = min(max(high - low, -1e100), 1e100)
    assume(length == 0 or abs(length) > 1e-100)  # a second derivative grows like 1 / length^2
    for order in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)):
        right = taps(size, low, length, bins, ratio, rule, derivative=order, seed=5)
        answer = roialign.taps(size, low, length, bins, ratio, rule, derivative=order, seed=5)
        assert_close(answer, right, "float64", max(1.0, float(np.abs(right).max())), f"{order}")


@given(box=ordinary_boxes, size=sizes)
def test_exact_ignores_the_orientation_of_a_bin(box: Any, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box
    # Both cut the same bins but for the rounding of an edge, which a small bin may feel.
    smallest = min(abs(x2 - x1), abs(y2 - y1))
    assume(smallest > 1e-3)
    answer = roialign.roi_align(FEATURES, rows_of((x2, y2, x1, y1)), size, sampling="exact")
    right = roialign.roi_align(FEATURES, rows_of(box), size, sampling="exact")[:, :, ::-1, ::-1]
    assert_close(answer, right, "float64", LARGEST * 100 / smallest)


@given(box=ordinary_boxes, size=sizes, seed=st.integers(0, 2**64 - 1))
def test_a_seed_decides_the_points(box: Any, size: tuple[int, int], seed: int) -> None:
    def pooled(key: Any, backend: str | None = None) -> Array:
        return roialign.roi_align(FEATURES, rows_of(box), size, 1.0, 2, sampling="random", seed=key, backend=backend)

    np.testing.assert_array_equal(pooled(seed), pooled(seed))
    assert_close(pooled(seed), pooled(seed, "reference"), "float64", LARGEST)
    np.testing.assert_array_equal(pooled(np.random.default_rng(seed)), pooled(np.random.default_rng(seed)))


def test_another_seed_gives_other_points() -> None:
    rois = rows_of((1.0, 1.0, 6.0, 4.0))
    answers = [
        roialign.roi_align(FEATURES, rois, 2, 1.0, 2, sampling="random", seed=seed) for seed in (1, 2, 1 + 2**32)
    ]
    assert not np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])
    fresh = [roialign.roi_align(FEATURES, rois, 2, 1.0, 2, sampling="random") for _ in range(2)]
    assert not np.array_equal(fresh[0], fresh[1])
