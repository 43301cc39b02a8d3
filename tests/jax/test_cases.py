"""The functions of both families on JAX arrays, compiled, over the shared table of cases."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from roialign._derivatives import Inputs, Operator, Setting
from roialign._levels import Assignment
from roialign._regions import Geometry
from roialign.jax.wiring.pairing import PAIRINGS, own
from tests.jax.arrays import DTYPES, float64
from tests.tables.answers import (
    ADJOINT_BOXES_ORDERS,
    ADJOINT_FEATURES_ORDERS,
    EVERY_CASE,
    FORWARD_ORDERS,
    Expected,
    expected,
)
from tests.tables.cases import Case
from tests.tables.kernels import orders
from tests.tables.pointwise_answers import side_by_side

__all__ = ["float64"]

pytestmark = pytest.mark.usefixtures("float64")


def rows_of(images: Any, numbers: Any) -> Any:
    return jnp.asarray(np.column_stack([images, numbers]).astype(np.float64))


def phi_of(case: Case, inputs: Any, dtype: str, channels_last: bool) -> tuple[Setting, Inputs, list[Any]]:
    """All that phi takes, and the tangents apart."""
    points, is_rotated = case.family == "pointwise", isinstance(getattr(inputs, "geometry", None), Geometry)

    def pixels(array: Any) -> Any:
        given = array.transpose(0, 2, 3, 1) if channels_last else array
        return jnp.asarray(np.ascontiguousarray(given)).astype(DTYPES[dtype])

    features, gradient = tuple(map(pixels, inputs.features)), pixels(inputs.grad_output)
    rows = rows_of(inputs.images, side_by_side(inputs.geometry)) if is_rotated else jnp.asarray(inputs.rois)
    tangents = [rows_of(7 + 0 * rows[:, 0], side_by_side(t) if is_rotated else t) for t in inputs.tangents]
    per_bin = (getattr(case, "has_offset", False), getattr(case, "has_mask", False))
    where = (tuple(case.scales), Assignment(224, 4), "zero", None, "rois", case.output_size)
    deciding = features if points and case.spec.reduction != "mean" else ()
    sizes = tuple(size for level in inputs.features for size in level.shape)
    setting = Setting(Operator(case.spec, *where, *per_bin), case.output_size, sizes, channels_last)
    return setting, Inputs(features, gradient, rows, jnp.asarray(inputs.levels), None, (), deciding), tangents


def check_all(case: Case, dtype: str, channels_last: bool, right: Expected) -> None:
    setting, phi, tangents = phi_of(case, right.inputs, dtype, channels_last)
    family = PAIRINGS[case.family]

    def moved(order: int, **without: Any) -> Inputs:
        return phi._replace(tangents=tuple(tangents[:order]), **without)

    def array(result: Any) -> Any:
        assert result.dtype == DTYPES[dtype]
        plain = np.asarray(result).astype(np.float64)
        return plain.transpose(0, 3, 1, 2) if channels_last else plain

    for order in orders(case, dtype, FORWARD_ORDERS):
        (answer,) = jax.jit(family.forward, static_argnums=0)(setting, moved(order, grad_output=None))
        right.check_forward(array(answer), dtype, order)
    for order in orders(case, dtype, ADJOINT_FEATURES_ORDERS):
        gradients = family.adjoint_features(setting, moved(order, features=()))
        assert [level.shape for level in gradients] == [own(shape, channels_last) for shape in setting.map_shapes]
        right.check_adjoint_features([array(level) for level in gradients], dtype, order)
    for order in orders(case, dtype, ADJOINT_BOXES_ORDERS):
        (boxes,) = family.adjoint_boxes(setting, moved(order))
        assert not boxes[:, 0].any()
        right.check_adjoint_boxes(np.asarray(boxes[:, 1:]), dtype, order)


#: A type and a layout for every case, in turn: that all of them give the bits of NumPy is tested in test_operators.py.
IN_TURN = zip(EVERY_CASE, cycle(product(DTYPES, (False, True))), strict=False)


@pytest.mark.parametrize(
    ("case", "dtype", "channels_last"),
    [pytest.param(case, *how, id=f"{case.name}, {how[0]}") for case, how in IN_TURN],
)
def test_the_core(case: Case, dtype: str, channels_last: bool) -> None:
    check_all(case, dtype, channels_last, expected(case.name))


def test_a_wrong_answer_is_seen() -> None:
    case = EVERY_CASE[0]
    right = expected(case.name)
    wrong = replace(right, inputs=replace(right.inputs, rois=right.inputs.rois + np.array([0, 0.01, 0, 0, 0])))
    with pytest.raises(AssertionError, match="forward, order 0"):
        check_all(case, "float64", False, wrong)
