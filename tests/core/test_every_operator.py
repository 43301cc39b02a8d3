"""What holds of every operator: the bits for any number of threads, half types, more than 2^31 elements, any box.

Each check is run on an operator that is broken, too, and sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import roialign
from tests.core.test_large import CHANNELS, HEIGHT, WIDTH, WINDOW, sparse_map
from tests.ops.test_properties import ordinary_boxes, rows_of, sizes
from tests.tables.operators import OPERATORS, Array, Operator
from tests.tables.tolerances import HALF_TYPES, assert_close, assert_same_bits

HALF = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
LAYOUTS = ("NCHW", "NHWC")
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


class Broken(Operator):
    """An operator whose answers pass through a fault."""

    fault: Callable[[Array], Array]

    @classmethod
    def of(cls, operator: Operator, fault: Callable[[Array], Array]) -> Broken:
        broken = cls(**{name: getattr(operator, name) for name in operator.__dataclass_fields__})
        object.__setattr__(broken, "fault", fault)
        return broken

    def forward(self, features: Array, rows: Array, *arguments: Any, **more: Any) -> Array:
        # The reference stays as it is.
        honest = super().forward(features, rows, *arguments, **more)
        return honest if more.get("backend") == "reference" else self.fault(honest)


def drawn(operator: Operator, dtype: Any, layout: str, size: tuple[int, int], rois: int = 60) -> tuple[Array, ...]:
    """Features, rows and an output gradient."""
    rng = np.random.default_rng(8)
    shape = (2, operator.input_channels(12, size), 17, 22)
    out = (rois, shape[1] // (size[0] * size[1]) if operator.by_bin else shape[1], *size)
    low = rng.uniform(-4, 18, (rois, 2))
    rows = np.column_stack([rng.integers(0, 2, rois), low, low + rng.uniform(0.1, 14, (rois, 2))])
    arrays = [rng.standard_normal(axes).astype(np.float32).astype(dtype) for axes in (shape, out)]
    if layout == "NHWC":
        arrays = [np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in arrays]
    return arrays[0], rows, arrays[1]


# Threads


def check_threads(operator: Operator, dtype: Any, layout: str) -> None:
    features, rows, gradient = drawn(operator, dtype, layout, (3, 4))
    answers = []
    for count in (1, 2, 3, 8):
        roialign.set_num_threads(count)
        pooled = operator.forward(features, rows, (3, 4), layout)
        answers.append([pooled, *operator.backward(gradient, features, rows, layout)])
    for others in answers[1:]:
        for other, one in zip(others, answers[0], strict=True):
            assert_same_bits(other, one, "another number of threads")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@every_operator
@pytest.mark.usefixtures("threads")
def test_the_same_bits_for_every_number_of_threads(operator: Operator, dtype: Any, layout: str) -> None:
    check_threads(operator, dtype, layout)


@every_operator
@pytest.mark.usefixtures("threads")
def test_another_order_of_sums_is_seen(operator: Operator) -> None:
    def one_bit(answer: Array) -> Array:
        if roialign.get_num_threads() > 2:
            answer.reshape(-1)[-1] = np.nextafter(answer.reshape(-1)[-1], answer.dtype.type(np.inf))
        return answer

    with pytest.raises(AssertionError, match=r"1 of .* elements differ in their bits"):
        check_threads(Broken.of(operator, one_bit), np.float32, "NCHW")


@every_operator
def test_a_roi_among_others(operator: Operator) -> None:
    """In any order, and alone, where its row does not count."""
    features, rows, _ = drawn(operator, np.float32, "NHWC", (2, 2))
    together = operator.forward(features, rows, (2, 2), "NHWC")
    if operator.counts_rows:
        assert not np.array_equal(operator.forward(features, rows[::-1], (2, 2), "NHWC")[::-1], together)
        return
    assert_same_bits(operator.forward(features, rows[::-1], (2, 2), "NHWC")[::-1], together)
    assert_same_bits(operator.forward(features, rows[7:8], (2, 2), "NHWC"), together[7:8])


# Half types


def check_half_type(operator: Operator, name: str, layout: str) -> None:
    """One rounding of what float32 gives for the same values."""
    features, rows, gradient = drawn(operator, HALF[name], layout, (3, 4))
    wide, wide_gradient = features.astype(np.float32), gradient.astype(np.float32)
    pooled, right = operator.forward(features, rows, (3, 4), layout), operator.forward(wide, rows, (3, 4), layout)
    assert pooled.dtype == HALF[name]
    assert_close(pooled, right.astype(np.float64), name, float(np.abs(wide).max()), "forward")
    found, expected = (
        operator.backward(given, values, rows, layout)
        for given, values in ((gradient, features), (wide_gradient, wide))
    )
    assert found[0].dtype == HALF[name]
    scale = float(np.abs(expected[0]).max())
    assert_close(found[0], expected[0].astype(np.float64), name, 8 * scale, "gradient of the features")
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == other.dtype, "geometry keeps its own type"
        assert_close(one, other.astype(np.float64), "float32", 64 * float(np.abs(other).max()), "geometry")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", HALF)
@every_operator
def test_half_types_round_once(operator: Operator, name: str, layout: str) -> None:
    check_half_type(operator, name, layout)


@pytest.mark.parametrize("name", HALF)
@every_operator
def test_accumulation_in_a_half_type_is_seen(operator: Operator, name: str) -> None:
    """As much as a second rounding does, of a value twice as large."""
    bits, _ = HALF_TYPES[name]

    def rounded_twice(answer: Array) -> Array:
        return (answer.astype(np.float32) * np.float32(1 + 2.0**-bits)).astype(answer.dtype)

    broken = Broken.of(operator, lambda answer: rounded_twice(answer) if answer.dtype == HALF[name] else answer)
    with pytest.raises(AssertionError, match=r"forward: .* values are wrong"):
        check_half_type(broken, name, "NCHW")


# More elements than 32 bits count


def check_large(operator: Operator, path: Path, layout: str) -> None:
    """The far corner of a map of more than 2^31 elements, against a map that is that corner."""
    size = (1, 2)
    assert operator.input_channels(1, size) in (1, CHANNELS)
    corner = np.random.default_rng(1).standard_normal((1, CHANNELS, WINDOW, WINDOW)).astype(np.float16)
    far_y, far_x = HEIGHT - WINDOW, WIDTH - WINDOW
    place: Any = (slice(None), slice(None), slice(far_y, None), slice(far_x, None))
    shape: tuple[int, ...] = (1, CHANNELS, HEIGHT, WIDTH)
    near_map = corner
    if layout == "NHWC":
        place, shape = (slice(None), *place[2:]), (1, HEIGHT, WIDTH, CHANNELS)
        near_map = np.ascontiguousarray(corner.transpose(0, 2, 3, 1))
    features = sparse_map(path, shape, near_map, place)
    # Multiples of 1/64, far from the window's near edges: moving them is exact.
    near = np.array([[0, 8.25, 9.5, 20.0, 21.25], [0, 12.0, 12.0, 21.0, 22.625], [0, 15.0, 14.0, 20.5, 21.75]])
    far = near + np.array([0, far_x, far_y, far_x, far_y])
    wide = near_map.astype(np.float64)
    right = operator.forward(wide, near, size, layout, backend="reference")
    answer = operator.forward(features, far, size, layout)
    assert np.abs(right).max() > 0
    assert_close(answer, right, "float16", float(np.abs(wide).max()), "forward")
    if operator.name in ("roi_pool", "ps_roi_pool") or operator.options.get("method") == "nearest":
        return  # no gradient to boxes
    gradient = np.random.default_rng(2).standard_normal(right.shape).astype(np.float16)
    need = {"need": "boxes" if operator.name == "crop_and_resize" else "rois"}
    (found,) = operator.backward(gradient, features, far, layout, **need)
    (expected,) = operator.backward(gradient.astype(np.float64), wide, near, layout, backend="reference", **need)
    factor = (HEIGHT - 1) / (WINDOW - 1) if operator.name == "crop_and_resize" else 1.0
    tolerance = 1e-3 * factor * float(np.abs(expected).max())
    if operator.name == "crop_and_resize":  # in fractions of the map
        columns = np.array([HEIGHT - 1, WIDTH - 1] * 2) / (WINDOW - 1)
        expected = expected * columns
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
@every_operator
@pytest.mark.unsanitized
def test_more_than_2_to_the_31_elements(operator: Operator, layout: str, tmp_path: Path) -> None:
    check_large(operator, tmp_path / "map", layout)


def test_an_index_of_32_bits_is_seen(tmp_path: Path) -> None:
    """It wraps round to the beginning of the map, where there are zeros."""
    for name, operator in OPERATORS.items():
        with pytest.raises(AssertionError, match=r"forward: .* values are wrong"):
            check_large(Broken.of(operator, np.zeros_like), tmp_path / name, "NCHW")


# Any box

scenes = st.tuples(st.sampled_from(list(OPERATORS)), ordinary_boxes, ordinary_boxes, sizes)


def check_any_box(operator: Operator, boxes: tuple[Any, Any], size: tuple[int, int]) -> None:
    """The reference's answer; twice the answer for twice the map; and a gradient that is the transpose."""
    rng = np.random.default_rng(5)
    features = rng.standard_normal((2, operator.input_channels(2, size), 6, 9))
    rows = rows_of(*boxes)
    largest = float(np.abs(features).max())
    pooled = operator.forward(features, rows, size)
    right = operator.forward(features, rows, size, backend="reference")
    assert_close(pooled, right, "float64", largest, "the reference")
    assert_same_bits(operator.forward(2 * features, rows, size), 2 * pooled, "twice the map")
    gradient = rng.standard_normal(pooled.shape)
    found = operator.backward(gradient, features, rows)[0]
    # A maximum is linear as long as the same points win, and at the map itself they do.
    forward, backward = float((gradient * pooled).sum()), float((found * features).sum())
    terms = float((np.abs(gradient) * largest).sum())
    assert_close(np.array(backward), np.array(forward), "float64", 16 * terms, "the transpose")


@given(scene=scenes)
def test_any_box(scene: Any) -> None:
    name, first, second, size = scene
    check_any_box(OPERATORS[name], (first, second), size)


@every_operator
def test_a_fault_of_one_part_in_a_billion_is_seen(operator: Operator) -> None:
    boxes = ((1.25, 0.5, 7.0, 5.25), (0.75, 1.5, 4.0, 3.75))
    check_any_box(operator, boxes, (2, 2))
    with pytest.raises(AssertionError, match=r"the reference: .* values are wrong"):
        check_any_box(Broken.of(operator, lambda answer: answer * (1 + 1e-9)), boxes, (2, 2))
