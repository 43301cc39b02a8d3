"""The comparison itself: it accepts what the table allows and rejects every kind of wrong answer."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.tables.tolerances import RELATIVE, assert_close, assert_same_bits, half_unit, largest

RIGHT = np.random.default_rng(5).standard_normal((4, 3, 7, 5))
SCALE = float(np.abs(RIGHT).max())
KINDS = ["float64", "float32", "peer float32", "finite difference"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_answer_and_small_errors_pass(kind: str) -> None:
    assert_close(RIGHT, RIGHT, kind, SCALE)
    assert_close(RIGHT + 0.9 * RELATIVE[kind] * SCALE, RIGHT, kind, SCALE)


@pytest.mark.parametrize("kind", KINDS)
def test_one_element_off_by_a_bit_more_is_rejected(kind: str) -> None:
    wrong = RIGHT.copy()
    wrong[2, 1, 3, 4] += 1.1 * RELATIVE[kind] * SCALE
    with pytest.raises(AssertionError, match=r"1 of 420 values are wrong; at \(2, 1, 3, 4\)"):
        assert_close(wrong, RIGHT, kind, SCALE)


@pytest.mark.parametrize("left", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [*KINDS, "float16", "bfloat16"])
def test_a_value_that_is_not_finite_is_rejected(kind: str, left: float) -> None:
    wrong = RIGHT.copy()
    wrong[0, 0, 0, 0] = left
    with pytest.raises(AssertionError, match="1 of 420 values"):
        assert_close(wrong, RIGHT, kind, SCALE)


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16"])
def test_another_shape_a_shift_a_swap_and_a_sign_are_rejected(kind: str) -> None:
    with pytest.raises(AssertionError, match="shape"):
        assert_close(RIGHT[:, :, :, :4], RIGHT, kind, SCALE)
    with pytest.raises(AssertionError, match="shape"):
        assert_close(RIGHT[:, :1], RIGHT, kind, SCALE)  # would broadcast
    for wrong in (np.roll(RIGHT, 1, axis=3), np.roll(RIGHT, 1, axis=0), RIGHT[:, ::-1], -RIGHT, np.zeros_like(RIGHT)):
        with pytest.raises(AssertionError, match="values are wrong"):
            assert_close(wrong, RIGHT, kind, SCALE)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_one_rounding_to_a_half_type_passes_and_two_units_do_not(dtype: type) -> None:
    kind = np.dtype(dtype).name
    rounded = RIGHT.astype(dtype)
    assert_close(rounded, RIGHT, kind, 0.0)
    unit = 2 * half_unit(np.abs(RIGHT), kind)
    with pytest.raises(AssertionError, match="values are wrong"):
        assert_close((RIGHT + 1.5 * unit).astype(dtype), RIGHT, kind, SCALE)


def test_beyond_the_largest_number_of_a_half_type_only_its_own_infinity_passes() -> None:
    beyond = np.array([7e4, -7e4, 1.0])
    assert_close(np.array([np.inf, -np.inf, 1.0]), beyond, "float16", 1.0)
    for wrong in ([-np.inf, -np.inf, 1.0], [np.inf, -np.inf, np.inf], [np.nan, -np.inf, 1.0], [65504.0, -np.inf, 1.0]):
        with pytest.raises(AssertionError, match="1 of 3 values are wrong"):
            assert_close(np.array(wrong), beyond, "float16", 1.0)
    assert largest("float16") == 65520.0


def test_an_expectation_that_is_not_finite_or_a_wrong_scale_is_an_error_of_the_test() -> None:
    with pytest.raises(AssertionError, match="expectation"):
        assert_close(RIGHT, np.full_like(RIGHT, np.nan), "float64", SCALE)
    with pytest.raises(AssertionError, match="scale"):
        assert_close(RIGHT, RIGHT, "float64", np.nan)


def test_same_bits_sees_a_single_bit_and_the_sign_of_zero() -> None:
    assert_same_bits(RIGHT, RIGHT.copy())
    wrong = RIGHT.copy()
    wrong[1, 1, 1, 1] = np.nextafter(wrong[1, 1, 1, 1], 9.0)
    with pytest.raises(AssertionError, match="1 of 420 elements differ"):
        assert_same_bits(wrong, RIGHT)
    with pytest.raises(AssertionError, match="1 of 1 elements differ"):
        assert_same_bits(np.array([-0.0]), np.array([0.0]))
    with pytest.raises(AssertionError, match="shape or dtype"):
        assert_same_bits(RIGHT.astype(np.float32), RIGHT)
