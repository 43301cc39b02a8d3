"""Intersection over union of rotated boxes as arrays: exact values, gradients, kinks, types, and what is rejected."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import shapely

import roialign
from tests.tables.python import run_python
from tests.tables.tolerances import assert_close, assert_same_bits
from tests.tables.turned_pairs import (
    Array,
    diamonds,
    exact_overlap,
    exact_pairs,
    lattice_boxes,
    random_boxes,
    rows_of,
)

SETS = {
    "random": (random_boxes(40, 0), random_boxes(50, 1)),
    "thin": (random_boxes(40, 2, 1e-5, 1e2), random_boxes(50, 3, 1e-5, 1e2)),
    "lattice": (lattice_boxes(40, 4), lattice_boxes(50, 5)),
    "diamonds": (lattice_boxes(40, 6), diamonds(50, 7)),
}


def polygons_of(boxes: Array) -> Any:
    cosine, sine = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    across = np.column_stack([cosine, sine]) * boxes[:, 2:3] / 2
    down = np.column_stack([-sine, cosine]) * boxes[:, 3:4] / 2
    return shapely.polygons(
        np.stack([boxes[:, :2] + u * across + v * down for u, v in ((1, 1), (1, -1), (-1, -1), (-1, 1))], axis=1)
    )


# Values


@pytest.mark.parametrize(
    ("scale", "far"),
    [
        (Fraction(1), Fraction(0)),
        (Fraction(1, 10**6), Fraction(0)),
        (Fraction(1, 10**6), Fraction(1)),
        (Fraction(1), Fraction(10**6)),
        (Fraction(10**9), Fraction(0)),
    ],
    ids=["near", "1e-6", "1e-6 at 1", "at 1e6", "1e9"],
)
def test_exact_rationals(scale: Fraction, far: Fraction, backend_name: str) -> None:
    pairs = exact_pairs(150, scale, far)
    first, second = rows_of(pairs)
    expected = np.array([float(exact_overlap(*pair)) for pair in pairs])
    assert 0.3 < (expected > 0).mean() < 0.95
    found = roialign.rotated_iou(first, second, paired=True, clockwise=True, backend=backend_name)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    flipped = [array * [1, 1, 1, 1, -1] for array in (first, second)]
    assert_same_bits(roialign.rotated_iou(*flipped, paired=True, backend=backend_name), found)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", SETS)
def test_shapely(name: str) -> None:
    boxes, others = SETS[name]
    first, second = polygons_of(boxes), polygons_of(others)
    shared = shapely.area(shapely.intersection(first[:, None], second))
    union = shapely.area(first)[:, None] + shapely.area(second) - shared
    expected = np.where(union > 0, shared / np.where(union > 0, union, 1), 0)
    found = roialign.rotated_iou(boxes, others, clockwise=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    apart = shapely.distance(first[:, None], second) > 1e-9
    assert (found[apart] == 0).all()


@pytest.mark.parametrize("name", SETS)
def test_the_core_is_the_reference(name: str) -> None:
    boxes, others = SETS[name]
    expected = roialign.rotated_iou(boxes, others, backend="reference")
    assert_close(roialign.rotated_iou(boxes, others), expected, "float64", 1.0, name)
    pairs = roialign.rotated_iou(boxes, others[: len(boxes)], paired=True)
    assert_same_bits(pairs, np.diagonal(roialign.rotated_iou(boxes, others[: len(boxes)])), name)


def test_large_angles_lose_nothing(backend_name: str) -> None:
    angles = np.array([1e9, -1e15, 1e22, 1e99])
    boxes = np.column_stack([np.zeros((4, 2)), np.full(4, 4.0), np.full(4, 2.0), angles])
    small = boxes.copy()
    small[:, 4] = np.arctan2(np.sin(angles), np.cos(angles))
    others = np.array([[0.5, 0.0, 3.0, 2.0, 0.3]])
    found = roialign.rotated_iou(boxes, others, backend=backend_name)  # type: ignore[call-overload]
    expected = roialign.rotated_iou(small, others, backend=backend_name)  # type: ignore[call-overload]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_equal_boxes_have_exactly_one() -> None:
    boxes = np.concatenate([random_boxes(200, 8, 1e-6, 1e6), random_boxes(200, 9) * [1e9, 1e9, 1, 1, 1]])
    assert (roialign.rotated_iou(boxes, boxes, paired=True) == 1).all()
    turned = boxes + np.array([0, 0, 0, 0, math.pi])
    swapped = boxes[:, [0, 1, 3, 2, 4]] + np.array([0, 0, 0, 0, math.pi / 2])
    for same in (turned, swapped):
        np.testing.assert_allclose(roialign.rotated_iou(boxes[200:], same[200:], paired=True), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend_name", ["cpu", "reference"])
def test_equal_boxes_have_exactly_one_unless_areas_underflow(backend_name: str) -> None:
    boxes = random_boxes(300, 10, 1e-150, 1e100)
    assert (roialign.rotated_iou(boxes, boxes, paired=True, backend=backend_name) == 1).all()  # type: ignore[call-overload]
    boxes[:, 2:4] = 1e-200
    assert (roialign.rotated_iou(boxes, boxes, paired=True, backend=backend_name) == 0).all()  # type: ignore[call-overload]


def test_boxes_that_touch_have_exactly_zero() -> None:
    box = np.array([[1.0, 1.0, 2.0, 4.0, 0.0]])
    beside = np.array([[2.5, 1.0, 4.0, 1.0, math.pi / 2], [1.0, 4.0, 2.0, 2.0, math.pi], [2.5, 3.5, 1.0, 1.0, 0.0]])
    assert roialign.rotated_iou(box, beside).tolist() == [[0.0, 0.0, 0.0]]
    assert (roialign.rotated_iou(box, beside - [1e-9, 1e-9, 0, 0, 0]) > 0).all()


def test_a_box_inside_another() -> None:
    small, large = np.array([[3e5, 2.0, 1e-6, 1e-3, 0.3]]), np.array([[3e5, 2.0, 1e3, 1e4, -1.1]])
    assert roialign.rotated_iou(small, large).item() == pytest.approx(1e-16, rel=1e-12)


def test_empty_boxes_have_zero() -> None:
    boxes = np.array([[1.0, 1.0, 0.0, 4.0, 0.2], [1.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 3.0, 3.0, 0.5]])
    overlaps = roialign.rotated_iou(boxes, boxes)
    assert overlaps[2, 2] == 1
    assert overlaps.sum() == 1


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_no_boxes(shape: tuple[int, int]) -> None:
    boxes, others = random_boxes(shape[0], 0), random_boxes(shape[1], 1)
    assert roialign.rotated_iou(boxes, others).shape == shape
    grads = roialign.rotated_iou_backward(np.ones(shape), boxes, others)
    assert [None if grad is None else grad.tolist() for grad in grads] == [[[0.0] * 5] * count for count in shape]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.usefixtures("threads")
def test_threads_do_not_change_a_bit(count: int) -> None:
    boxes, others = random_boxes(300, 10), random_boxes(9000, 11, extent=30.0)
    weights = np.random.default_rng(0).standard_normal((300, 9000))
    roialign.set_num_threads(1)
    expected = [roialign.rotated_iou(boxes, others), *roialign.rotated_iou_backward(weights, boxes, others)]
    roialign.set_num_threads(count)
    found = [roialign.rotated_iou(boxes, others), *roialign.rotated_iou_backward(weights, boxes, others)]
    for one, other in zip(found, expected, strict=True):
        assert_same_bits(one, other)  # type: ignore[arg-type]


# Types


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("paired", [False, True])
def test_types(name: str, paired: bool) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    boxes, others = random_boxes(300, 12).astype(dtype), random_boxes(300, 13).astype(dtype)
    found = roialign.rotated_iou(boxes, others, paired=paired)
    assert found.dtype == dtype
    exact = roialign.rotated_iou(boxes.astype(np.float64), others.astype(np.float64), paired=paired)
    assert_same_bits(found, exact.astype(dtype))
    weights = np.ones(found.shape, dtype)
    for grad, wide in zip(
        roialign.rotated_iou_backward(weights, boxes, others, paired=paired),
        roialign.rotated_iou_backward(
            weights.astype(np.float64), boxes.astype(np.float64), others.astype(np.float64), paired=paired
        ),
        strict=True,
    ):
        assert grad is not None
        assert wide is not None
        assert_same_bits(grad, wide.astype(dtype))


def test_tiny_float32_boxes() -> None:
    """Computed in float32, the area of such a box is a few percent off."""
    boxes = (random_boxes(50, 14, 0.5, 1.0) * [0, 0, 1e-6, 1e-6, 1] + [900, 700, 0, 0, 0]).astype(np.float32)
    slightly = boxes * np.array([1, 1, 1 - 2.0**-20, 1, 1], np.float32)
    expected = (slightly[:, 2].astype(np.float64) / boxes[:, 2]).astype(np.float32)
    assert_same_bits(roialign.rotated_iou(boxes, slightly, paired=True), expected)


def test_integers_are_float64() -> None:
    boxes = np.array([[0, 0, 4, 2, 0], [1, 0, 4, 2, 0]])
    assert roialign.rotated_iou(boxes, boxes.astype(np.float32)).dtype == np.float64
    np.testing.assert_allclose(roialign.rotated_iou(boxes, boxes), [[1, 0.6], [0.6, 1]])


def test_any_strides() -> None:
    boxes, others = random_boxes(40, 0), random_boxes(50, 1)
    expected = roialign.rotated_iou(boxes, others)
    record = np.zeros(40, dtype=[("box", float, 5), ("rest", np.int8)])
    record["box"] = boxes
    assert_same_bits(roialign.rotated_iou(record["box"], np.asfortranarray(others)[::-1]), expected[:, ::-1])


MEASURE = """
import re
import numpy as np, roialign

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

roialign.set_num_threads(2)
rng = np.random.default_rng(0)
boxes = np.column_stack([rng.uniform(0, 900, (3000, 2)), rng.uniform(20, 90, (3000, 2)), rng.uniform(0, 3, 3000)])
boxes = boxes.astype({dtype!r})
roialign.rotated_iou(boxes[:9], boxes[:9])  # loads the core
before = kilobytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
overlaps = {call}
extra, whole = kilobytes("VmHWM") - before, 3000 * 3000 * boxes.itemsize / 1024
assert extra <= {share} * whole, f"{{extra / whole:.1%}} of the answer"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    ("call", "dtype", "share"),
    [
        ("roialign.rotated_iou(boxes, boxes)", "float64", 1.1),
        ("roialign.rotated_iou(boxes, boxes)", "float32", 1.1),
        ("roialign.rotated_iou(boxes, boxes)", "float16", 1.1),
        ("roialign.rotated_nms(boxes, boxes[:, 0], 0.3)", "float64", 0.02),
    ],
)
@pytest.mark.unsanitized
def test_memory(call: str, dtype: str, share: float) -> None:
    run_python(MEASURE.format(call=call, dtype=dtype, share=share))
    with pytest.raises(AssertionError, match="of the answer"):
        run_python(MEASURE.format(call=call, dtype=dtype, share=1e-6))


# Gradients


def central_differences(weights: Array, boxes: Array, others: Array, paired: bool, step: float = 1e-6) -> list[Array]:
    """At a kink it is the mean of the derivatives from both directions, as the gradient is."""
    arrays = [boxes.copy(), others.copy()]
    found = []
    for array in arrays:
        gradient = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            value, moved = array[place], []
            for side in (step, -step):
                array[place] = value + side
                moved.append(float((weights * roialign.rotated_iou(*arrays, paired=paired)).sum()))
            array[place] = value
            gradient[place] = (moved[0] - moved[1]) / (2 * step)
        found.append(gradient)
    return found


@pytest.mark.parametrize("name", ["random", "lattice", "diamonds"])
@pytest.mark.parametrize("paired", [False, True])
def test_gradients_are_central_differences(name: str, paired: bool, backend_name: str) -> None:
    boxes, others = (array[(array[:, 2:4] > 0).all(axis=1)][: 18 if paired else 8] for array in SETS[name])
    overlaps = roialign.rotated_iou(boxes, others, paired=paired)
    weights = np.random.default_rng(5).uniform(0.5, 1, overlaps.shape) * (overlaps > 0)  # not where boxes only touch
    assert (weights > 0).sum() > 1
    grads = roialign.rotated_iou_backward(weights, boxes, others, paired=paired, backend=backend_name)  # type: ignore[arg-type]
    for found, expected in zip(grads, central_differences(weights, boxes, others, paired), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("paired", [False, True])
def test_gradients_of_the_core_are_the_references(name: str, paired: bool) -> None:
    boxes, others = SETS[name]
    others = others[: len(boxes)] if paired else others
    weights = np.random.default_rng(6).standard_normal((40,) if paired else (40, 50))
    expected = roialign.rotated_iou_backward(weights, boxes, others, paired=paired, backend="reference")
    for found, exact in zip(
        roialign.rotated_iou_backward(weights, boxes, others, paired=paired), expected, strict=True
    ):
        assert found is not None
        assert exact is not None
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9 * np.abs(exact).max())


def test_equal_boxes_and_boxes_that_touch_have_no_gradient(backend_name: str) -> None:
    boxes = np.array([[1.0, 1.0, 2.0, 4.0, 0.3], [0.0, 0.0, 2.0, 2.0, 0.0]])
    others = np.array([[1.0, 1.0, 2.0, 4.0, 0.3], [2.0, 0.0, 2.0, 2.0, 0.0]])
    grads = roialign.rotated_iou_backward(np.ones(2), boxes, others, paired=True, backend=backend_name)  # type: ignore[arg-type]
    for grad in grads:
        np.testing.assert_allclose(grad, np.zeros((2, 5)), atol=1e-15)


@pytest.mark.parametrize("paired", [False, True])
def test_boxes_far_apart_have_no_gradient_whatever_is_given(paired: bool, backend_name: str) -> None:
    boxes, others = np.array([[0.0, 0.0, 2.0, 2.0, 0.3]]), np.array([[9.0, 0.0, 2.0, 2.0, 0.0]])
    for value in (np.inf, np.nan):
        given = np.full(1 if paired else (1, 1), value)
        grads = roialign.rotated_iou_backward(given, boxes, others, paired=paired, backend=backend_name)  # type: ignore[arg-type]
        for grad in grads:
            np.testing.assert_array_equal(grad, np.zeros((1, 5)))


def test_only_what_is_needed() -> None:
    boxes, others = random_boxes(4, 0), random_boxes(5, 1)
    both = roialign.rotated_iou_backward(np.ones((4, 5)), boxes, others)
    first, nothing = roialign.rotated_iou_backward(np.ones((4, 5)), boxes, others, need="boxes")
    assert nothing is None
    assert first is not None
    assert both[0] is not None
    assert_same_bits(first, both[0])


# Errors


def with_number(value: float, column: int) -> Array:
    boxes = random_boxes(4, 0)
    boxes[2, column] = value
    return boxes


GOOD = random_boxes(4, 1)
ERRORS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("nan", (with_number(math.nan, 4), GOOD), {}, r"boxes\[2\]: expected finite numbers, got \(.*nan\)"),
    ("infinite", (GOOD, with_number(-math.inf, 0)), {}, r"others\[2\]: expected finite numbers, got \(-inf, "),
    ("huge", (GOOD, with_number(1e101, 0)), {}, r"others\[2\]: .*values above 1e\+100 count as infinite"),
    ("width", (with_number(-1.0, 2), GOOD), {}, r"boxes\[2\]: expected a width and a height of at least 0, got \(-1"),
    ("height", (GOOD, with_number(-2.0, 3)), {}, r"others\[2\]: expected a width and a height of at least 0"),
    ("columns", (GOOD[:, :4], GOOD), {}, r"boxes: expected shape \[L, 5\], got \(4, 4\)"),
    ("dimensions", (GOOD, GOOD[0]), {}, r"others: expected shape \[M, 5\], got \(5,\)"),
    ("pairs", (GOOD, GOOD[:3]), {"paired": True}, r"others: expected one row per row of boxes .*got 3"),
    ("complex", (GOOD.astype(complex), GOOD), {}, r"boxes: expected a real dtype"),
    ("list", (GOOD, GOOD.tolist()), {}, r"others: expected a numpy.ndarray, got builtins.list"),
    ("invalid", (GOOD, GOOD), {"invalid": "skip"}, r"invalid: expected one of 'raise', 'zero', got 'skip'"),
    ("backend", (GOOD, GOOD), {"backend": "triton"}, r"backend: expected one of 'cpu', 'reference', got 'triton'"),
]


@pytest.mark.parametrize(("arguments", "more", "message"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_errors(arguments: tuple[Any, ...], more: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        roialign.rotated_iou(*arguments, **more)
    with pytest.raises((ValueError, TypeError), match=message):
        roialign.rotated_iou_backward(np.ones((4, 4)), *arguments, **more)


def test_errors_of_a_gradient() -> None:
    with pytest.raises(ValueError, match=r"grad_output: expected shape \(4, 4\), got \(4,\)"):
        roialign.rotated_iou_backward(np.ones(4), GOOD, GOOD)
    with pytest.raises(ValueError, match=r"need: expected one of 'boxes', 'others', got 'rois'"):
        roialign.rotated_iou_backward(np.ones((4, 4)), GOOD, GOOD, need=("rois",))  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "column"), [(math.nan, 0), (math.inf, 3), (-1.0, 2)])
def test_invalid_boxes_can_be_zero(value: float, column: int) -> None:
    boxes = with_number(value, column)
    expected = roialign.rotated_iou(random_boxes(4, 0), GOOD)
    expected[2] = 0
    assert_same_bits(roialign.rotated_iou(boxes, GOOD, invalid="zero"), expected)
    grad_boxes, grad_others = roialign.rotated_iou_backward(np.ones((4, 4)), boxes, GOOD, invalid="zero")
    assert grad_boxes is not None
    assert np.isfinite(grad_boxes).all()
    assert (grad_boxes[2] == 0).all()
    assert np.isfinite(grad_others).all()  # type: ignore[arg-type]
