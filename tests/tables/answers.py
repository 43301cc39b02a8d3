"""What the reference answers for a case, and the scale of the rounding that each answer may have; kept on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

import numpy as np

from roialign.reference import separable
from roialign.reference.aggregate import aggregate_mean
from roialign.reference.map_boxes import map_boxes_tangent
from tests.tables.cases import CASES, SMALL_CASES, Array, Inputs
from tests.tables.kept import kept
from tests.tables.pointwise_answers import point_answers, point_scales
from tests.tables.pointwise_cases import POINT_CASES, SMALL_POINT_CASES
from tests.tables.tolerances import HALF_TYPES, assert_close

# The package exports a function of the same name.
taps_module = import_module("roialign.reference.taps")

#: Orders of derivative along tangents that each function of a backend takes, by family.
FORWARD_ORDERS = {"separable": (0, 1, 2), "pointwise": (0, 1)}
ADJOINT_FEATURES_ORDERS = {**FORWARD_ORDERS}
ADJOINT_BOXES_ORDERS = {"separable": (0, 1), "pointwise": (0,)}


@dataclass(frozen=True)
class Answers:
    """By order of derivative."""

    forward: dict[int, Array]
    adjoint_features: dict[int, list[Array]]
    adjoint_boxes: dict[int, Array]
    """Numbers of a row side by side: of boxes, and of bin offsets and masks."""


@dataclass(frozen=True)
class Expected:
    """The inputs of a case, what the reference answers, and the one way to judge another answer by it."""

    inputs: Inputs
    answers: Answers
    scales: Answers

    def check_forward(self, answer: Array, dtype: str, order: int) -> None:
        what = f"forward, order {order}"
        assert_close(answer, self.answers.forward[order], dtype, self.scales.forward[order], what)

    def check_adjoint_features(self, gradients: list[Array], dtype: str, order: int) -> None:
        rights, scales = self.answers.adjoint_features[order], self.scales.adjoint_features[order]
        for level, (answer, right, scale) in enumerate(zip(gradients, rights, scales, strict=True)):
            assert_close(answer, right, dtype, scale, f"adjoint_features, order {order}, level {level}")

    def check_adjoint_boxes(self, answer: Array, dtype: str, order: int) -> None:
        # Box gradients are coordinates: float64, whatever the features.
        assert answer.dtype == np.float64
        kind = "float32" if dtype in HALF_TYPES else dtype
        what = f"adjoint_boxes, order {order}"
        assert_close(answer, self.answers.adjoint_boxes[order], kind, self.scales.adjoint_boxes[order], what)


EVERY_CASE = CASES + POINT_CASES
SMALL_EVERY_CASE = SMALL_CASES + SMALL_POINT_CASES
_NAMED = EVERY_CASE + SMALL_EVERY_CASE
EVERY_NAME = {case.name: case for case in _NAMED}
assert len(EVERY_NAME) == len(_NAMED), "names of cases are unique"


@cache
def expected(name: str) -> Expected:
    """The answers of the reference for the case of that name."""
    inputs = EVERY_NAME[name].draw()
    return Expected(inputs, *kept(__name__, name, partial(_answers_and_scales, EVERY_NAME[name], inputs)))


def _answers_and_scales(case: Any, inputs: Any) -> tuple[Answers, Answers]:
    if case.family == "pointwise":
        answers, scales = point_answers(case, inputs), point_scales(case, inputs)
        return Answers(*answers), _forward_scales(inputs, Answers(*scales))
    with patch.object(separable, "taps", cache(taps_module.taps)):
        answers = _all_answers(case.spec, case.scales, inputs)
    with _absolute():
        scales = _all_answers(case.spec, case.scales, _magnitudes(inputs))
    return answers, _forward_scales(inputs, scales)


def _forward_scales(inputs: Any, scales: Answers) -> Answers:
    """A forward answer is judged by the largest feature, a derivative of it by the RoI's largest sum."""
    forward = {0: np.array(max(float(np.abs(level).max()) for level in inputs.features))}
    for order, magnitude in scales.forward.items():
        if order > 0:
            forward[order] = magnitude.max(axis=(1, 2, 3), keepdims=True, initial=0.0)
    return Answers(forward, scales.adjoint_features, scales.adjoint_boxes)


def roi_scales(
    spec: Any, features: list[Array], scales: list[float], rois: Array, levels: Array, gradient: Array
) -> Answers:
    """The scales of the gradients of a call that is no case of the table."""
    inputs = Inputs(features, rois, levels, gradient, [np.zeros((len(rois), 4))] * 2)
    with _absolute():
        return _all_answers(spec, scales, _magnitudes(inputs))


def _all_answers(spec: Any, scales: Any, inputs: Inputs) -> Answers:
    shapes = [level.shape for level in inputs.features]
    common = (scales, inputs.rois, inputs.levels)
    gradient, bins = inputs.grad_output, inputs.grad_output.shape[2:]
    return Answers(
        {
            n: separable.forward(spec, inputs.features, *common, bins, inputs.tangents[:n])
            for n in FORWARD_ORDERS["separable"]
        },
        {
            n: separable.adjoint_features(spec, gradient, shapes, *common, inputs.tangents[:n])  # type: ignore[arg-type]
            for n in FORWARD_ORDERS["separable"]
        },
        {
            n: separable.adjoint_boxes(spec, gradient, inputs.features, *common, inputs.tangents[:n])
            for n in ADJOINT_BOXES_ORDERS["separable"]
        },
    )


def _magnitudes(inputs: Inputs) -> Inputs:
    """The same boxes and tangents over absolute values."""
    features = [np.abs(level) for level in inputs.features]
    return Inputs(features, inputs.rois, inputs.levels, np.abs(inputs.grad_output), inputs.tangents)


@contextmanager
def _absolute() -> Iterator[None]:
    """The reference with every term of every sum over points, tangents and pixels made positive."""

    def absolute_mean(weighted: Iterable[Any], size: int) -> Array:
        positive = ((abs(share), [(i, abs(value)) for i, value in neighbours]) for share, neighbours in weighted)
        return aggregate_mean(positive, size)

    singular_part = taps_module._singular_part

    def absolute_singular_part(*arguments: Any) -> Array:
        return np.abs(singular_part(*arguments))

    def absolute_tangent(*arguments: Any) -> tuple[float, float]:
        along_start, along_length = map_boxes_tangent(*arguments)
        return abs(along_start), abs(along_length)

    with (
        patch.object(taps_module, "aggregate_mean", absolute_mean),
        patch.object(taps_module, "_singular_part", absolute_singular_part),
        patch.object(separable, "taps", cache(taps_module.taps)),
        patch.object(separable, "map_boxes_tangent", absolute_tangent),
    ):
        yield
