"""How near is near enough: the one table, and the one comparison that every numeric test goes through."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: Largest error allowed, as a fraction of the scale that a test states: the largest feature for a forward answer, and
#: for a derivative or a gradient the same sum with every term's absolute value.
RELATIVE = {
    "float64": 1e-12,
    "float32": 2e-6,
    # Other systems' float32 answers: their geometry is float32 too, which moves a sample point by up to 1e-5 px.
    "peer float32": 2e-4,
    # Central differences of a quadratic at steps of about 1e-6: rounding, not truncation, is what is left.
    "finite difference": 1e-7,
}

#: Cancelling terms of the float64 geometry, as a fraction of the largest scale in the comparison.
GEOMETRY = 1e-15

#: Bits of the significand after the point, and the exponent of the smallest normal number.
HALF_TYPES = {"float16": (10, -14), "bfloat16": (7, -126)}


def assert_close(actual: Array, expected: Array, kind: str, scale: Array | float, what: str = "") -> None:
    """Raise an AssertionError where `actual` differs from the float64 `expected` by more than the table allows.

    `kind` is a row of the table, or a half type: then the answer may be off by the float32 row and half a unit in its
    own last place, which is one rounding. A NaN in the answer is always an error, and so is an infinity unless the
    expectation lies beyond the largest number of a half type.
    """
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    assert np.isfinite(np.asarray(expected, dtype=np.float64)).all(), f"{what}: the expectation itself is not finite"
    found = np.asarray(actual, dtype=np.float64)
    allowed = allowed_error(np.asarray(expected, dtype=np.float64), kind, scale)
    wrong = ~(np.abs(found - expected) <= allowed)  # true for NaN
    if kind in HALF_TYPES:
        overflows = (
            np.isinf(found) & (np.sign(found) == np.sign(expected)) & (np.abs(expected) + allowed >= largest(kind))
        )
        wrong &= ~overflows
    if wrong.any():
        place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise AssertionError(
            f"{what}: {int(wrong.sum())} of {wrong.size} values are wrong; at {tuple(map(int, place))} "
            f"{found[place]!r}, expected {float(expected[place])!r} within {float(allowed[place]):.3g}"
        )


def allowed_error(expected: Array, kind: str, scale: Array | float) -> Array:
    """The largest difference from `expected` that passes, for every element."""
    sizes = np.broadcast_to(np.asarray(scale, dtype=np.float64), expected.shape)
    assert ((sizes >= 0) & (sizes < np.inf)).all(), "a scale is a finite magnitude"
    relative = RELATIVE["float32" if kind in HALF_TYPES else kind]
    allowed = relative * sizes + GEOMETRY * float(sizes.max(initial=0.0))
    if kind in HALF_TYPES:
        allowed = allowed + half_unit(np.abs(expected) + allowed, kind)
    return np.asarray(allowed)


def largest(kind: str) -> float:
    """Numbers from here on round to infinity in a half type."""
    bits, smallest = HALF_TYPES[kind]
    return float((2.0 - 2.0 ** (-bits - 1)) * 2.0 ** (1 - smallest))


def half_unit(magnitude: Array, kind: str) -> Array:
    """Half a unit in the last place of a half type at a magnitude: the most that rounding to it can move a number."""
    bits, smallest = HALF_TYPES[kind]
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, smallest)
    return np.asarray(np.ldexp(0.5, exponent - bits))


def assert_same_bits(actual: Array, expected: Array, what: str = "") -> None:
    """Raise an AssertionError unless both arrays hold the same bytes, element by element."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), f"{what}: shape or dtype differs"
    unsigned = np.dtype(f"u{actual.dtype.itemsize}")
    seen, wanted = (np.ascontiguousarray(array).view(unsigned) for array in (actual, expected))
    different = int((seen != wanted).sum())
    assert different == 0, f"{what}: {different} of {actual.size} elements differ in their bits"
