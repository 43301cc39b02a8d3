"""The reference's taps: against values worked out by hand, point lists, exact rationals and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from roialign._spec import BORDER_OF_RULE
from roialign.reference.philox import philox_4x32, uniform
from roialign.reference.taps import taps
from tests.tables.boxes import KINDS
from tests.tables.exact_oracle import exact_taps
from tests.tables.oracles import Points, bilinear_point, grid_points, philox, random_points
from tests.tables.tolerances import assert_close

Array = np.ndarray[Any, np.dtype[Any]]

FIRST, SECOND = ((1, 0), (0, 1)), ((2, 0), (1, 1), (0, 2))
#: "nearest" is left out: it has no derivatives.
RULES = tuple(rule for rule in BORDER_OF_RULE if rule != "nearest")


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        # One bin from 0.5 to 2.5: points at 1 and 2.
        ((4, 0.5, 2.0, 1, 2, "grid"), [[0, 0.5, 0.5, 0]]),
        # Adaptive: ceil(1.5) = 2 points a bin, at 0.375, 1.125 and 1.875, 2.625.
        ((4, 0.0, 3.0, 2, 0, "grid"), [[0.3125, 0.625, 0.0625, 0], [0, 0.0625, 0.625, 0.3125]]),
        # The edge value holds on [-1, 0] and on [3, 4]; off the map a point counts, with zero.
        ((4, -2.0, 2.0, 1, 2, "grid"), [[0.5, 0, 0, 0]]),
        ((4, 3.0, 2.0, 1, 2, "grid"), [[0, 0, 0, 0.5]]),
        # -1 and 4 themselves are inside.
        ((4, -1.0, 0.0, 1, 1, "grid"), [[1, 0, 0, 0]]),
        ((4, 4.0, 0.0, 1, 1, "grid"), [[0, 0, 0, 1]]),
        # No adaptive points in a box of no length, or inverted.
        ((4, 1.0, 0.0, 2, 0, "grid"), [[0, 0, 0, 0], [0, 0, 0, 0]]),
        ((4, 2.0, -1.0, 1, 0, "grid"), [[0, 0, 0, 0]]),
        # A fixed count runs backwards in an inverted box.
        ((4, 2.0, -2.0, 2, 1, "grid"), [[0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0]]),
        # The hat integrated: halves and quarters of unit cells.
        ((3, 0.0, 1.0, 1, 0, "exact"), [[0.5, 0.5, 0]]),
        ((3, 0.0, 2.0, 1, 0, "exact"), [[0.25, 0.5, 0.25]]),
        ((3, 0.0, 1.0, 2, 0, "exact"), [[0.75, 0.25, 0], [0.25, 0.75, 0]]),
        ((3, 1.0, -1.0, 1, 0, "exact"), [[0.5, 0.5, 0]]),
        ((3, 1.25, 0.0, 2, 0, "exact"), [[0, 0.75, 0.25], [0, 0.75, 0.25]]),
        # The border: 1 on [-1, 0]; the half of the bin beyond -1 is zero.
        ((3, -2.0, 2.0, 1, 0, "exact"), [[0.5, 0, 0]]),
        ((3, -2.0, 2.0, 1, 0, "prroi"), [[0.25, 0, 0]]),
        ((3, 2.0, 1.0, 1, 0, "prroi"), [[0, 0, 0.5]]),
        ((3, 1.0, 0.0, 1, 0, "prroi"), [[0, 0, 0]]),
        # crop: both ends, or the middle of one bin; beyond the outer centres nothing.
        ((5, 0.0, 4.0, 3, 0, "crop"), [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]),
        ((5, 1.0, 1.5, 1, 0, "crop"), [[0, 0.25, 0.75, 0, 0]]),
        ((5, -0.5, 5.0, 3, 0, "crop"), [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]),
    ],
    ids=str,
)
def test_values_worked_out_by_hand(arguments: Any, right: list[list[float]]) -> None:
    assert_close(taps(*arguments), np.array(right, dtype=np.float64), "float64", 1.0)


# Random sampling


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_vectors(counter: str, key: str, words: str) -> None:
    """The known answers that its authors publish with Random123."""
    counter_words, key_words, right = (tuple(int(word, 16) for word in text.split()) for text in (counter, key, words))
    assert philox_4x32(counter_words, key_words) == right  # type: ignore[arg-type]
    oracle = philox(np.array(counter_words, dtype=np.uint32), np.array(key_words, dtype=np.uint32))
    assert tuple(oracle.tolist()) == right


def test_uniform_lies_strictly_between_0_and_1_and_depends_on_every_part_of_its_counter() -> None:
    base = {"seed": 3, "sample": 1, "bin_index": 2, "axis": 0, "row": 5}
    draws = {uniform(**base)}
    for part, value in (("seed", 3 + 2**32), ("sample", 2), ("bin_index", 3), ("axis", 1), ("row", 6)):
        draws.add(uniform(**{**base, part: value}))
    assert len(draws) == 6
    many = [uniform(11, sample, 0, 0, 0) for sample in range(4000)]
    assert 0 < min(many) < 0.002
    assert 0.998 < max(many) < 1
    assert abs(np.mean(many) - 0.5) < 0.02


def matrix_of_points(size: int, start: float, length: float, bins: int, axis: int, row: int, points: Points) -> Array:
    """Taps from a list of points: every pixel's indicator interpolated at every point."""
    feature = np.eye(size)[:, None, :]
    matrix = np.zeros((bins, size))
    for index in range(bins):
        listed = points(row, axis, index, start + index * (length / bins), length / bins)
        for x in listed:
            matrix[index] += bilinear_point(feature, 0.0, x) / len(listed)
    return matrix


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("huge", "large")])
@pytest.mark.parametrize("ratio", [0, 1, 2, 5, 70])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_grid_and_random_are_the_mean_over_their_points(kind: str, ratio: int, size: int) -> None:
    rng = np.random.default_rng(size * 100 + ratio)
    seed = 2**40 + 9
    for bins in (1, 4):
        low, high = KINDS[kind][1](rng, size)
        right = matrix_of_points(size, low, high - low, bins, 1, 6, grid_points((ratio, ratio)))
        assert_close(taps(size, low, high - low, bins, ratio, "grid"), right, "float64", 1.0, "grid")
        right = matrix_of_points(size, low, high - low, bins, 1, 6, random_points((ratio, ratio), seed))
        answer = taps(size, low, high - low, bins, ratio, "random", seed=seed, axis=1, row=6)
        assert_close(answer, right, "float64", 1.0, "random")


@pytest.mark.parametrize("rule", ["grid", "random"])
@pytest.mark.parametrize("bounds", [(-9e3, 7e3), (-5.0, 2e4), (-2e4, 3.3), (7e3, -9e3)], ids=str)
def test_points_far_from_the_map_are_counted_without_being_visited(rule: Any, bounds: tuple[float, float]) -> None:
    low, high = bounds
    ratio = 0 if high > low else 3000
    points = grid_points((ratio, ratio)) if rule == "grid" else random_points((ratio, ratio), 8)
    right = matrix_of_points(6, low, high - low, 3, 0, 0, points)
    assert_close(taps(6, low, high - low, 3, ratio, rule, seed=8), right, "float64", 1.0)


# Exact sampling

#: Where a bin can begin: inside a cell, on a pixel, on either side of every place where the border rule changes.
STARTS = (
    1.3,
    2.0,
    -1.0,
    -1.0 - 2**-40,
    -1.0 + 2**-40,
    -(2**-45),
    0.0,
    3.0 - 2**-41,
    3.0,
    4.0 - 2**-41,
    4.0,
    -1.75,
    3.5,
)


@pytest.mark.parametrize("length", [1e-12, 1e-9, 1e-6, 1e-3, 0.3, 1.0])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("sign", [1, -1])
def test_exact_weights_and_derivatives_against_rationals_in_bins_down_to_1e_12(
    start: float, length: float, sign: int
) -> None:
    size, bins = 4, 2
    for rule in ("exact", "prroi"):
        if rule == "prroi" and sign < 0:
            continue  # an inverted RoI is empty: its own test
        for order in ((0, 0), *FIRST, *SECOND):
            extent = sign * length * bins
            right = exact_taps(size, start, extent, bins, order, replicated=rule == "exact")
            # Where a kink or a jump lies inside the bin, derivatives grow like 1 / length.
            scale = max(1.0, float(np.abs(right).max()))
            assert_close(
                taps(size, start, extent, bins, 0, rule, derivative=order), right, "float64", scale, f"{rule} {order}"
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_exact_weights_and_derivatives_against_rationals_on_boxes_of_every_kind(kind: str, size: int) -> None:
    rng = np.random.default_rng(size)
    for bins in (1, 3):
        low, high = KINDS[kind][1](rng, size)
        for order in ((0, 0), *FIRST, *SECOND):
            for rule in ("exact", "prroi") if high > low else ("exact",):
                if high == low and low in (-1.0, size):
                    continue  # a point on a jump has no derivative
                right = exact_taps(size, low, high - low, bins, order, replicated=rule == "exact")
                scale = max(1.0, float(np.abs(right).max()))
                answer = taps(size, low, high - low, bins, 0, rule, derivative=order)
                assert_close(answer, right, "float64", scale, f"{rule} {order} [{low}, {high}]")


def test_exact_is_the_limit_of_dense_grids() -> None:
    rng = np.random.default_rng(4)
    count = 1024
    for kind in ("inside", "border", "covering", "edges", "inverted", "tiny"):
        for _ in range(3):
            low, high = KINDS[kind][1](rng, 7)
            dense = matrix_of_points(7, low, high - low, 3, 0, 0, grid_points((count, count)))
            # At a jump the grid is off by one point of its `count`, elsewhere by far less.
            assert np.abs(taps(7, low, high - low, 3, 0, "exact") - dense).max() <= 1.0 / count


def test_prroi_is_empty_for_boxes_without_length() -> None:
    for order in ((0, 0), *FIRST, *SECOND):
        assert not taps(5, 1.5, 0.0, 2, 0, "prroi", derivative=order).any()
        assert not taps(5, 3.0, -2.0, 2, 0, "prroi", derivative=order).any()


# Derivatives


def central_difference(
    arguments: list[Any], order: tuple[int, int], coordinate: int, step: float, **more: Any
) -> Array:
    """The derivative in start (1) or length (2) of the taps of that order."""
    ahead, behind = list(arguments), list(arguments)
    ahead[coordinate] += step
    behind[coordinate] -= step
    difference = taps(*ahead, derivative=order, **more) - taps(*behind, derivative=order, **more)
    return np.asarray(difference / (ahead[coordinate] - behind[coordinate]))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "bounds", [(0.7, 6.2), (-2.3, 9.4), (5.8, 1.1), (2.2, 2.45), (-0.8, 3.7), (4.1, 7.77)], ids=str
)
@pytest.mark.parametrize("ratio", [0, 3])
def test_every_derivative_is_the_slope_of_the_order_below(rule: str, bounds: tuple[float, float], ratio: int) -> None:
    """At places where no point lies on an integer, and no bin ends on one."""
    low, high = bounds
    arguments: list[Any] = [8, low, high - low, 3, ratio, rule]
    more = {"seed": 12}
    step = 2.0**-20
    for order in ((0, 0), *FIRST):
        below = taps(*arguments, derivative=order, **more)
        scale = max(1.0, float(np.abs(below).max())) * 10 / min(1.0, abs(high - low))
        for coordinate, higher in ((1, (order[0] + 1, order[1])), (2, (order[0], order[1] + 1))):
            slope = central_difference(arguments, order, coordinate, step, **more)
            assert_close(taps(*arguments, derivative=higher, **more), slope, "finite difference", scale, f"{higher}")


def test_the_derivative_check_can_fail() -> None:
    arguments: list[Any] = [8, 0.7, 5.5, 3, 0, "exact"]
    slope = central_difference(arguments, (0, 0), 1, 2.0**-20)
    with pytest.raises(AssertionError, match="values are wrong"):
        assert_close(taps(*arguments, derivative=(0, 1)), slope, "finite difference", 10.0)


def test_at_a_kink_the_derivative_is_the_one_to_the_right() -> None:
    for rule, start in (("grid", 1.5), ("exact", 2.0), ("prroi", 2.0), ("exact", -1.0), ("exact", 0.0)):
        arguments: list[Any] = [6, start, 1.0, 1, 1, rule]
        step = 2.0**-26
        ahead = [6, start + step, 1.0, 1, 1, rule]
        slope = (taps(*ahead) - taps(*arguments)) / step
        assert np.abs(taps(*arguments, derivative=(1, 0)) - slope).max() < 1e-6, (rule, start)


def test_crop_has_no_slope_on_a_pixel() -> None:
    assert not taps(6, 2.0, 2.0, 3, 0, "crop", derivative=(1, 0)).any()


@pytest.mark.parametrize("rule", RULES)
def test_taps_of_a_box_far_larger_than_the_map_are_finite(rule: Any) -> None:
    for extent in (1e5, 1e9, 1e16, 1e100):
        for order in ((0, 0), *FIRST, *SECOND):
            matrix = taps(5, -extent / 3, extent, 3, 0, rule, derivative=order)
            assert np.isfinite(matrix).all()
            assert np.abs(matrix).max() <= 1.0
