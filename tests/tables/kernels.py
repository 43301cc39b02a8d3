"""Calls of the compiled core on the inputs of a case, in any dtype and layout, with proof of what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np

from roialign._regions import Geometry, Regions
from roialign.numpy.backends import backend_for
from tests.tables.answers import ADJOINT_BOXES_ORDERS, ADJOINT_FEATURES_ORDERS, EVERY_CASE, FORWARD_ORDERS, expected
from tests.tables.cases import Array, Case
from tests.tables.layouts import BY_NAME as LAYOUT
from tests.tables.layouts import Layout
from tests.tables.pointwise_answers import side_by_side
from tests.tables.tolerances import assert_same_bits

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


class Guarded:
    """Outputs that start as NaN between guards; `values` proves that nothing else was written to."""

    def __init__(self, layout: Layout, shapes: Sequence[tuple[int, ...]], dtype: type) -> None:
        self.layout, self.shapes = layout, shapes
        self.pairs = [layout.buffer(shape, dtype) for shape in shapes]
        self.before = [buffer.copy() for buffer, _ in self.pairs]

    @property
    def views(self) -> list[Array]:
        return [view for _, view in self.pairs]

    def values(self) -> list[Array]:
        for (buffer, _), before, shape in zip(self.pairs, self.before, self.shapes, strict=True):
            outside = self.layout.outside(shape)
            assert_same_bits(buffer[outside], before[outside], f"memory around the output ({self.layout.name})")
        return self.views


def orders(case: Case, dtype: str, by_family: Mapping[str, Sequence[int]]) -> Sequence[int]:
    """The derivatives to compare: of a maximum none where a dtype may find another one, by rounding."""
    every = by_family[case.family]
    if dtype == "float64" or getattr(case, "tells_winners", True):
        return every
    return every[:1] if by_family is FORWARD_ORDERS else ()


def forward(case: Case, inputs: Any, dtype: str, layout: Layout, order: int) -> Array:
    """The core's answer, or its derivative along tangents."""
    kind = DTYPES[dtype]
    output = Guarded(layout, [inputs.grad_output.shape], kind)
    features = [layout.of(level, kind) for level in inputs.features]
    core_of(case).forward(case.spec, features, regions_of(case, inputs), output.views[0], tangents_of(inputs, order))
    return output.values()[0]


def adjoint_features(case: Case, inputs: Any, dtype: str, layout: Layout, order: int) -> list[Array]:
    """The transpose of :func:`forward`, one gradient per level."""
    kind = DTYPES[dtype]
    output = Guarded(layout, [level.shape for level in inputs.features], kind)
    gradient = layout.of(inputs.grad_output, kind)
    deciding = [layout.of(level, kind) for level in inputs.features]
    regions, tangents = regions_of(case, inputs), tangents_of(inputs, order)
    core_of(case).adjoint_features(case.spec, gradient, deciding, regions, output.views, tangents)
    return output.values()


def adjoint_boxes(case: Case, inputs: Any, dtype: str, layout: Layout, order: int) -> Array:
    """The gradient in the boxes; of the pointwise family in all its geometry, side by side."""
    kind = DTYPES[dtype]
    features = [layout.of(level, kind) for level in inputs.features]
    gradient = layout.of(inputs.grad_output, kind)
    regions, tangents = regions_of(case, inputs), tangents_of(inputs, order)
    return side_by_side(core_of(case).adjoint_geometry(case.spec, gradient, features, regions, tangents))


def core_of(case: Case) -> Any:
    """The module that computes a case's family by the compiled core."""
    return backend_for(case.family, "cpu")


def regions_of(case: Case, inputs: Any) -> Regions:
    """The RoIs of a case, as backends take them."""
    if case.family == "separable":
        return Regions(case.scales, inputs.rois, inputs.levels)
    boxes, offset, mask = inputs.geometry
    rows = np.column_stack([inputs.images.astype(np.float64), boxes])
    return Regions(case.scales, rows, inputs.levels, offset, mask)


def tangents_of(inputs: Any, order: int) -> list[Geometry]:
    """The first directions in which the RoIs of a case move."""
    return [tangent if isinstance(tangent, Geometry) else Geometry(tangent) for tangent in inputs.tangents[:order]]


def record(path: str) -> None:
    """Write the answers to the whole table, in both native layouts, as float64: for another process to judge."""
    answers = {}
    for case, dtype, layout in _recorded():
        inputs, key = case.draw(), _key(case, dtype, layout)
        for order in orders(case, dtype, FORWARD_ORDERS):
            answers[f"{key}/forward/{order}"] = forward(case, inputs, dtype, layout, order)
        for order in orders(case, dtype, ADJOINT_FEATURES_ORDERS):
            for level, gradient in enumerate(adjoint_features(case, inputs, dtype, layout, order)):
                answers[f"{key}/adjoint_features/{order}/{level}"] = gradient
        for order in orders(case, dtype, ADJOINT_BOXES_ORDERS):
            answers[f"{key}/adjoint_boxes/{order}"] = adjoint_boxes(case, inputs, dtype, layout, order)
    np.savez(path, **{key: answer.astype(np.float64) for key, answer in answers.items()})


def check_recorded(recorded: Mapping[str, Array]) -> None:
    """Judge what :func:`record` has written."""
    for case, dtype, layout in _recorded():
        wanted, key = expected(case.name), _key(case, dtype, layout)
        levels = range(len(wanted.inputs.features))
        for order in orders(case, dtype, FORWARD_ORDERS):
            wanted.check_forward(recorded[f"{key}/forward/{order}"], dtype, order)
        for order in orders(case, dtype, ADJOINT_FEATURES_ORDERS):
            gradients = [recorded[f"{key}/adjoint_features/{order}/{level}"] for level in levels]
            wanted.check_adjoint_features(gradients, dtype, order)
        for order in orders(case, dtype, ADJOINT_BOXES_ORDERS):
            wanted.check_adjoint_boxes(recorded[f"{key}/adjoint_boxes/{order}"], dtype, order)


def _recorded() -> Iterator[tuple[Case, str, Layout]]:
    return product(EVERY_CASE, DTYPES, (LAYOUT["nchw"], LAYOUT["nhwc"]))


def _key(case: Case, dtype: str, layout: Layout) -> str:
    return f"{case.name}/{dtype}/{layout.name}"
