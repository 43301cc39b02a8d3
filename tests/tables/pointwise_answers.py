"""What the reference answers for a case of the pointwise family, and the scale of the rounding of each answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from roialign._regions import Geometry
from roialign.reference import points, pointwise
from tests.tables.cases import Array
from tests.tables.pointwise_cases import PointCase, PointInputs

#: Forward, adjoint in the features and adjoint in the geometry, each by order of derivative.
Parts = tuple[dict[int, Array], dict[int, list[Array]], dict[int, Array]]


def point_answers(case: PointCase, inputs: PointInputs, deciding: Any = None) -> Parts:
    where = (case.scales, inputs.images, inputs.geometry, inputs.levels)
    decisive = inputs.features if deciding is None else deciding
    forward, adjoint = {}, {}
    for order in (0, 1):
        tangent = inputs.tangents[0] if order else None
        forward[order] = pointwise.forward(case.spec, inputs.features, *where, case.output_size, tangent, decisive)
        adjoint[order] = pointwise.adjoint_features(case.spec, inputs.grad_output, decisive, *where, tangent)
    gradient = pointwise.adjoint_geometry(case.spec, inputs.grad_output, inputs.features, *where, decisive)
    return forward, adjoint, {0: side_by_side(gradient)}


def side_by_side(geometry: Geometry) -> Array:
    """All numbers of a RoI in one row."""
    return np.concatenate(
        [part.reshape(len(part), int(np.prod(part.shape[1:]))) for part in geometry if part is not None], axis=1
    )


def point_scales(case: PointCase, inputs: PointInputs) -> Parts:
    """The same with every term of every sum made positive; who wins a maximum is decided as it was."""
    positive = PointInputs(
        [np.abs(level) for level in inputs.features],
        inputs.images,
        inputs.geometry,
        inputs.levels,
        np.abs(inputs.grad_output),
        inputs.tangents,
    )
    with _absolute():
        forward, adjoint, geometry = point_answers(case, positive, inputs.features)
    # A point's place is rounded, and so its weight: by the bits that the numbers of its box have.
    return forward, adjoint, geometry


@contextmanager
def _absolute() -> Iterator[None]:
    honest_taps, honest_mixing = points.Point.taps, pointwise._Bin._mixing
    honest_terms = pointwise._Bin.terms

    def taps(self: Any, *arguments: Any) -> Any:
        return [(row, column, abs(weight)) for row, column, weight in honest_taps(self, *arguments)]

    def velocity(self: Any, frame: Any, tangent: Any) -> tuple[float, float]:
        own_y, own_x = (
            abs(points._speed(axis, way)) for axis, way in ((self.along_y, tangent.y), (self.along_x, tangent.x))
        )
        cosine, sine = abs(frame.cosine), abs(frame.sine)
        turn_cosine, turn_sine = abs(tangent.cosine), abs(tangent.sine)
        along_y, along_x = abs(self.along_y.x), abs(self.along_x.x)
        return (
            own_y * cosine + own_x * sine + along_y * turn_cosine + along_x * turn_sine + abs(tangent.centre_y),
            own_y * sine + own_x * cosine + along_y * turn_sine + along_x * turn_cosine + abs(tangent.centre_x),
        )

    def mixing(self: Any) -> Any:
        return tuple(np.abs(matrix) for matrix in honest_mixing(self))

    def terms(self: Any, tangent: Any) -> Any:
        if tangent is not None:
            boxes = np.array(tangent.boxes)
            boxes[:, 4:] = np.abs(boxes[:, 4:])
            tangent = tangent._replace(boxes=boxes, mask=None if tangent.mask is None else np.abs(tangent.mask))
        return honest_terms(self, tangent)

    with (
        patch.object(points.Point, "taps", taps),
        patch.object(points.Point, "velocity", velocity),
        patch.object(pointwise._Bin, "_mixing", mixing),
        patch.object(pointwise._Bin, "terms", terms),
    ):
        yield
