"""Every public operator and its gradients: on arrays of JAX as on those of NumPy, to the last bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import roialign
from tests.tables.operators import OPERATORS, Array, Operator
from tests.tables.tolerances import assert_same_bits

TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
SIZE = (3, 4)


class OnJax(Operator):
    """The same operator, given arrays of JAX."""

    def _place(self, features: Any, rows: Any, size: tuple[int, int], layout: str) -> dict[str, Any]:
        place = super()._place(features, rows, size, layout)
        return {name: jnp.asarray(value) for name, value in place.items()}


def on_jax(operator: Operator) -> OnJax:
    return OnJax(**{name: getattr(operator, name) for name in operator.__dataclass_fields__})


def drawn(operator: Operator, dtype: Any, layout: str) -> tuple[Array, Array, Array]:
    """Features, rows and the gradient of the output. All numbers of the boxes are float32, as JAX has them."""
    rng = np.random.default_rng(8)
    shape = (2, operator.input_channels(4, SIZE), 9, 12)
    out = (20, shape[1] // (SIZE[0] * SIZE[1]) if operator.by_bin else shape[1], *SIZE)
    low = rng.uniform(-3, 9, (20, 2))
    rows = np.column_stack([rng.integers(0, 2, 20), low, low + rng.uniform(0.1, 8, (20, 2))]).astype(np.float32)
    features, gradient = (rng.standard_normal(axes).astype(np.float32).astype(dtype) for axes in (shape, out))
    if layout == "NHWC":
        features, gradient = (np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in (features, gradient))
    return features, rows, gradient


class Rounded(Operator):
    """The same operator, whose geometry is rounded to float32 before it is used."""

    def _place(self, *arguments: Any) -> dict[str, Any]:
        place = super()._place(*arguments)
        return {name: _in_32_bits(value) for name, value in place.items()}


def _in_32_bits(value: Array) -> Array:
    narrow = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return value.astype(narrow.get(value.dtype, value.dtype))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_the_bits_of_numpy(operator: Operator, dtype: str, layout: str) -> None:
    plain = Rounded(**{name: getattr(operator, name) for name in operator.__dataclass_fields__})
    features, rows, gradient = drawn(operator, TYPES[dtype], layout)
    right = [plain.forward(features, rows, SIZE, layout), *plain.backward(gradient, features, rows, layout)]
    maps, output = jnp.asarray(features), jnp.asarray(gradient)
    ours = on_jax(operator)
    found = [ours.forward(maps, rows, SIZE, layout), *ours.backward(output, maps, rows, layout)]
    for answer, expected in zip(found, right, strict=True):
        assert isinstance(answer, jax.Array)
        assert_same_bits(np.asarray(answer), expected)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_jax_finds_the_gradients_of_the_twin(operator: Operator) -> None:
    """By its own differentiation, compiled, in the features and in every number of the geometry."""
    features, rows, gradient = drawn(operator, np.float32, "NCHW")
    ours = on_jax(operator)
    place = ours._place(features, rows, SIZE, "NCHW")
    bins = "crop_size" if "boxes" in place else "output_size"
    moving = {name: value for name, value in place.items() if value.dtype == jnp.float32}

    def loss(maps: Any, moving: dict[str, Any]) -> Any:
        call = getattr(roialign, operator.name)
        answer = call(maps, **{**place, **moving, bins: SIZE}, layout="NCHW", **operator.options)
        return (answer * gradient).sum()

    of_maps, of_geometry = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.asarray(features), moving)
    right = ours.backward(jnp.asarray(gradient), jnp.asarray(features), rows)
    assert_same_bits(np.asarray(of_maps), np.asarray(right[0]))
    if len(right) > 1:  # the twins of integer bins have no more
        names = [name for name in ("rois", "boxes", "offset", "mask") if name in moving]
        expected = dict(zip(names, right[1:], strict=True))
        assert set(expected) == set(of_geometry)
        for name, found in of_geometry.items():
            assert_same_bits(np.asarray(found), np.asarray(expected[name]), name)
    else:
        assert all(not np.asarray(found).any() for found in of_geometry.values())


def test_small_numbers_are_not_rounded_to_zero() -> None:
    """XLA rounds numbers below 1e-38 to zero within its own instructions; the core computes with them."""
    tiny = np.full((1, 1, 4, 4), 1e-39, dtype=np.float32)
    box = np.array([[0, 0, 0, 3, 3]], dtype=np.float32)
    right = roialign.roi_align(tiny, box, 2, sampling_ratio=2)
    assert right.all()
    assert_same_bits(np.asarray(roialign.roi_align(jnp.asarray(tiny), jnp.asarray(box), 2, sampling_ratio=2)), right)


def test_integer_boxes_are_exact_and_have_no_gradient() -> None:
    features, boxes = jnp.ones((1, 2, 8, 8)), jnp.array([[0, 1, 1, 5, 6]])
    assert_same_bits(
        np.asarray(roialign.roi_align(features, boxes, 2)),
        roialign.roi_align(np.ones((1, 2, 8, 8), np.float32), np.array([[0, 1, 1, 5, 6]]), 2),
    )
    gradient = jax.grad(lambda maps: roialign.roi_align(maps, boxes, 2).sum())(features)
    np.testing.assert_allclose(gradient.sum(), 8, rtol=1e-6)
    _, of_boxes = roialign.roi_align_backward(jnp.ones((1, 2, 2, 2)), features, boxes)
    assert of_boxes.dtype == jnp.float32


def test_every_structure_of_rois() -> None:
    features = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32))
    first, second = jnp.array([[1.0, 1, 5, 6]]), jnp.array([[0.0, 2, 4, 4], [1, 1, 7, 7]])
    rows = jnp.concatenate([jnp.pad(first, ((0, 0), (1, 0))), jnp.pad(second, ((0, 0), (1, 0)), constant_values=1)])
    as_rows = roialign.roi_align(features, rows, 2)
    as_list = roialign.roi_align(features, [first, second], 2)
    by_index = roialign.roi_align(features, rows[:, 1:], 2, batch_indices=jnp.array([0, 1, 1]))
    of_numpy = roialign.roi_align(features, np.asarray(rows), 2)
    for other in (as_list, by_index, of_numpy):
        assert_same_bits(np.asarray(other), np.asarray(as_rows))
    gradients = jax.grad(lambda boxes: (roialign.roi_align(features, boxes, 2) ** 2).sum())([first, second])
    expected = jax.grad(lambda boxes: (roialign.roi_align(features, boxes, 2) ** 2).sum())(rows)
    assert_same_bits(np.asarray(jnp.concatenate(gradients)), np.asarray(expected[:, 1:]))
    assert roialign.roi_align(features, [jnp.zeros((0, 4))] * 2, 2).shape == (0, 3, 2, 2)


def test_the_rotated_iou_and_its_gradients() -> None:
    rng = np.random.default_rng(3)
    boxes, others = (rng.uniform(1, 9, (count, 5)).astype(np.float32) for count in (4, 3))
    right = roialign.rotated_iou(boxes, others)
    assert right.any()
    found = jax.jit(roialign.rotated_iou)(jnp.asarray(boxes), jnp.asarray(others))
    assert_same_bits(np.asarray(found), right)
    gradients = jax.grad(lambda a, b: (roialign.rotated_iou(a, b) ** 2).sum(), argnums=(0, 1))(
        jnp.asarray(boxes), jnp.asarray(others)
    )
    for one, other in zip(gradients, roialign.rotated_iou_backward(2 * right, boxes, others), strict=True):
        assert_same_bits(np.asarray(one), other)
    scores = rng.random(4).astype(np.float32)
    kept = roialign.rotated_nms(jnp.asarray(boxes), jnp.asarray(scores), 0.1)
    assert kept.tolist() == roialign.rotated_nms(boxes, scores, 0.1).tolist()
    with pytest.raises(TypeError, match=r"cannot be part of jax\.jit"):
        jax.jit(lambda b, s: roialign.rotated_nms(b, s, 0.1))(jnp.asarray(boxes), jnp.asarray(scores))


def test_levels_are_assigned_in_float64() -> None:
    """Also while JAX traces, so that the level of a box does not depend on who assigns it."""
    rng = np.random.default_rng(4)
    sides = np.repeat(224.0 * 2.0 ** rng.integers(-2, 3, 200), 2).reshape(200, 2).astype(np.float32)
    sides[:, 0] = np.nextafter(sides[:, 0], np.float32(0))
    boxes = np.column_stack([np.zeros((200, 2)), sides]).astype(np.float32)
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    right = roialign.fpn_levels(boxes, scales)
    assert roialign.fpn_levels(jnp.asarray(boxes), scales).tolist() == right.tolist()
    assert jax.jit(lambda b: roialign.fpn_levels(b, scales))(jnp.asarray(boxes)).tolist() == right.tolist()


def test_bin_offsets_as_numpy_arrays_beside_masks_of_jax() -> None:
    rng = np.random.default_rng(2)
    maps, gradient = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 2, 8, 8), (1, 2, 2, 2)))
    box, offset = np.array([[0, 1, 1, 6, 5]], np.float32), rng.standard_normal((1, 2, 2, 2)).astype(np.float32)
    mask = rng.random((1, 2, 2)).astype(np.float32)
    right = roialign.deform_roi_pool_backward(gradient, maps, box, offset, mask=mask, sampling_ratio=2)
    arrays = (jnp.asarray(gradient), jnp.asarray(maps), box, offset)
    found = roialign.deform_roi_pool_backward(*arrays, mask=jnp.asarray(mask), sampling_ratio=2)
    for one, other in zip(found, right, strict=True):
        assert_same_bits(np.asarray(one), other)
