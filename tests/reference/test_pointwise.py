"""The reference's pointwise operators: against their formulas, values worked out by hand, slopes and identities."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import roialign
from roialign._regions import Geometry
from roialign.reference import pointwise
from tests.tables.answers import expected
from tests.tables.oracles import bilinear_point, philox
from tests.tables.pointwise_answers import side_by_side
from tests.tables.pointwise_cases import POINT_CASES, SEED, SMOOTH, PointCase, PointInputs, roi_align_max, rotated
from tests.tables.tolerances import assert_close

Array = np.ndarray[Any, np.dtype[Any]]

every_smooth = pytest.mark.parametrize("name", SMOOTH)


# The operators as their formulas have them


def turned_points(
    row: int, box: list[float], i: int, j: int, bins: tuple[int, int], ratio: tuple[int, int], random: bool
) -> list[tuple[float, float]]:
    """The points of one bin of a rotated box in feature coordinates, as its authors have them."""
    cx, cy, width, height, angle = box
    bin_height, bin_width = height / bins[0], width / bins[1]
    count_y, count_x = ratio[0] or math.ceil(bin_height), ratio[1] or math.ceil(bin_width)
    points = []
    for iy in range(count_y):
        for ix in range(count_x):
            within = [0.5, 0.5]
            if random:
                counters = np.array([[iy * count_x + ix] * 2, [i * bins[1] + j] * 2, [0, 1], [row] * 2], np.uint32)
                words = philox(counters, np.array([SEED % 2**32, SEED // 2**32], dtype=np.uint32))[0]
                within = list((words + 0.5) / 2**32)
            yy = -height / 2 + i * bin_height + (iy + within[0]) * bin_height / count_y
            xx = -width / 2 + j * bin_width + (ix + within[1]) * bin_width / count_x
            y = yy * math.cos(angle) - xx * math.sin(angle) + cy
            points.append((y, yy * math.sin(angle) + xx * math.cos(angle) + cx))
    return points


@pytest.mark.parametrize("reduction", ["mean", "max"])
@pytest.mark.parametrize("ratio", [(0, 0), (2, 3)], ids=str)
@pytest.mark.parametrize("rule", ["grid", "random"])
def test_rotated_is_its_formula_point_by_point(rule: str, ratio: tuple[int, int], reduction: str) -> None:
    spec = rotated(ratio, rule=rule, reduction=reduction)
    kinds = ("inside", "border", "covering", "off the map", "tiny", "inverted")
    case = PointCase("turned", "", spec, maps=((5, 7),), channels=2, kinds=kinds)
    inputs = case.draw()
    right = np.zeros(inputs.grad_output.shape)
    for k, box in enumerate(inputs.geometry.boxes.tolist()):
        mapped = [*(value * case.scales[0] - 0.5 for value in box[:2]), *(side * case.scales[0] for side in box[2:4])]
        feature = inputs.features[0][inputs.images[k]]
        for i, j in np.ndindex(*case.output_size):
            places = turned_points(k, [*mapped, box[4]], i, j, case.output_size, ratio, rule == "random")
            samples = [bilinear_point(feature, *place) for place in places] or [np.zeros(2)]
            right[k, :, i, j] = np.mean(samples, axis=0) if reduction == "mean" else np.max(samples, axis=0)
    where = (case.scales, inputs.images, inputs.geometry, inputs.levels, case.output_size)
    answer = pointwise.forward(spec, inputs.features, *where)
    assert_close(answer, right, "float64", float(np.abs(inputs.features[0]).max()))


def dense_maximum(feature: Array, box: list[float], bins: tuple[int, int], index: tuple[int, int], steps: int) -> Array:
    """The maximum over many points of a bin, its ends among them: from below."""
    x1, y1, x2, y2 = box
    ys = y1 + (y2 - y1) * (index[0] + np.linspace(0, 1, steps)) / bins[0]
    xs = x1 + (x2 - x1) * (index[1] + np.linspace(0, 1, steps)) / bins[1]
    return np.max([bilinear_point(feature, y, x) for y in ys.tolist() for x in xs.tolist()], axis=0)


def test_exact_maximum_is_the_limit_of_dense_sampling() -> None:
    rng = np.random.default_rng(5)
    features, bins = rng.standard_normal((1, 2, 5, 6)), (2, 2)
    boxes = np.array([[0.3, 0.4, 4.2, 3.9], [-2.5, -1.7, 2.0, 6.5], [3.0, 1.0, 5.0, 4.0], [4.4, 3.1, 1.2, 0.3]])
    rows = np.column_stack([np.zeros(len(boxes)), boxes + 0.5])
    answer = roialign.roi_align(features, rows, bins, mode="max", sampling="exact", backend="reference")
    for k, box in enumerate(boxes.tolist()):
        for index in np.ndindex(*bins):
            below = [dense_maximum(features[0], box, bins, index, steps) for steps in (7, 61)]  # type: ignore[arg-type]
            exact = answer[(k, slice(None), *index)]
            assert (below[0] <= exact + 1e-12).all()
            assert (below[1] <= exact + 1e-12).all()
            # The map rises by at most this in the half of a step between two points, along both axes.
            step = max(abs(box[2] - box[0]), abs(box[3] - box[1])) / 2 / 60
            assert (exact - below[1] <= step * 2 * np.abs(features).max() * 2).all()


def test_exact_maximum_is_found_among_the_lattice_and_the_ends() -> None:
    """By brute force over every integer and both ends along each axis, with the oracle's interpolation."""
    rng = np.random.default_rng(6)
    features = rng.standard_normal((1, 3, 6, 7))
    for box in rng.uniform(-3, 8, (20, 4)).tolist():
        x1, y1, x2, y2 = box
        answer = roialign.roi_align(
            features, np.array([[0, *np.add(box, 0.5)]]), 1, mode="max", sampling="exact", backend="reference"
        )
        ys = [y1, y2, *(y for y in range(-1, 8) if min(y1, y2) < y < max(y1, y2))]
        xs = [x1, x2, *(x for x in range(-1, 9) if min(x1, x2) < x < max(x1, x2))]
        right = np.max([bilinear_point(features[0], y, x) for y in ys for x in xs], axis=0)
        np.testing.assert_allclose(answer[0, :, 0, 0], right, rtol=0, atol=1e-12)


# Values worked out by hand


def test_a_maximum_counts_points_off_the_map_as_zero() -> None:
    low = np.full((1, 1, 4, 4), -3.0)
    inside, across = np.array([[0, 1.0, 1.0, 3.0, 3.0]]), np.array([[0, 1.0, 1.0, 9.0, 3.0]])
    for sampling in ("grid", "exact"):
        more: Any = {"mode": "max", "sampling": sampling}
        assert roialign.roi_align(low, inside, 1, **more).item() == -3.0
        assert roialign.roi_align(low, across, 1, **more).item() == 0.0
        gradient, _ = roialign.roi_align_backward(np.ones((1, 1, 1, 1)), low, across, **more)
        assert gradient is not None
        assert not gradient.any(), "a point off the map has no pixel to give it to"


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_of_equal_points_the_first_is_the_maximum(backend: str) -> None:
    """Also before the zero of a point off the map."""
    level = np.zeros((1, 2, 3, 3))
    level[:, 1] = 5.0
    for box in ([0, 0.0, 0.0, 3.0, 3.0], [0, -4.0, 0.0, 3.0, 3.0]):
        gradient = roialign.roi_align_backward(
            np.ones((1, 2, 1, 1)), level, np.array([box]), 1.0, 3, mode="max", need=("features",), backend=backend
        )[0]
        assert gradient is not None
        assert gradient[0, 0, 0, 0] == gradient[0, 1, 0, 0] == 1.0
        assert gradient.sum() == 2.0


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nan_is_the_maximum(backend: str) -> None:
    level = np.arange(9.0).reshape(1, 1, 3, 3)
    level[0, 0, 1, 1] = np.nan
    box = np.array([[0, 0.0, 0.0, 2.0, 2.0]])
    assert np.isnan(roialign.roi_pool(level, box, 1, backend=backend)).all()
    assert np.isnan(roialign.roi_align(level, box, 1, 1.0, 3, mode="max", backend=backend)).all()
    low = np.full((1, 1, 3, 3), -np.inf)
    assert roialign.roi_pool(low, box, 1, backend=backend).item() == -np.inf


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("ratio", [1, 2, 6])  # few points of a bin, and many
def test_pixels_that_are_no_maximum_may_be_infinite(ratio: int, backend: str) -> None:
    """As in a map that is masked: gradients to boxes are those of the pixels that are the maxima."""
    level = np.random.default_rng(0).standard_normal((1, 35, 9, 9))
    level[0, np.arange(35), np.arange(35) % 9, 4] = -1e6
    masked = np.where(level == -1e6, -np.inf, level)
    boxes = np.array([[0, 1.2, 0.8, 7.9, 7.1]])
    gradient = np.ones((1, 35, 2, 2))

    def to_boxes(features: Array) -> Array:
        _, found = roialign.roi_align_backward(
            gradient, features, boxes, 1.0, ratio, mode="max", need=("rois",), backend=backend
        )
        assert found is not None
        return found

    np.testing.assert_allclose(to_boxes(masked), to_boxes(level), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_in_its_channel(value: float) -> None:
    """Channels side by side are compared as vectors: first, between and last of a bin's points, in one of them."""
    level = np.random.default_rng(0).standard_normal((1, 3, 3, 67))
    for channel, (row, column) in {3: (0, 0), 20: (1, 1), 66: (2, 2)}.items():
        level[0, row, column, channel] = value
    box = np.array([[0, 0.0, 0.0, 2.0, 2.0]])
    expected = level.max(axis=(1, 2)).reshape(1, 1, 1, 67)
    for dtype in (np.float64, np.float32):
        pooled = roialign.roi_pool(level.astype(dtype), box, 1, layout="NHWC", backend="cpu")
        np.testing.assert_array_equal(pooled, expected.astype(dtype))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_offset_of_a_bin_in_the_border_band_has_no_slope(backend: str) -> None:
    """Between the outermost pixel centres and one pixel beyond, the map is constant."""
    ramp = np.arange(16.0).reshape(1, 1, 4, 4)
    box, offset = np.array([[0, -0.4, 1.0, 0.4, 3.0]]), np.zeros((1, 2, 1, 1))
    gradients = roialign.deform_roi_pool_backward(
        np.ones((1, 1, 1, 1)), ramp, box, offset, 1.0, 1, 1.0, need=("offset",), backend=backend
    )
    assert gradients[2].ravel().tolist() == [0.0, 8.0]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_orientations_turn_with_the_box(backend: str) -> None:
    """A full turn changes nothing, and half a step mixes two orientations evenly."""
    features = np.random.default_rng(3).standard_normal((1, 8, 6, 6))
    box = [0, 3.0, 3.0, 3.0, 2.0]
    more: Any = {"num_orientations": 4, "backend": backend}
    upright = roialign.riroi_align_rotated(features, np.array([[*box, 0.0]]), 2, **more)
    turned = roialign.riroi_align_rotated(features, np.array([[*box, 2 * math.pi]]), 2, **more)
    np.testing.assert_allclose(turned, upright, rtol=0, atol=1e-12)
    angle = math.pi / 4
    half = roialign.riroi_align_rotated(features, np.array([[*box, angle]]), 2, **more)
    pooled = roialign.roi_align_rotated(features, np.array([[*box, angle]]), 2, aligned=False, backend=backend)
    groups = pooled.reshape(1, 2, 4, 2, 2)
    right = 0.5 * groups + 0.5 * np.roll(groups, -1, axis=2)
    np.testing.assert_allclose(half, right.reshape(half.shape), rtol=0, atol=1e-12)


def test_a_rotated_box_without_an_angle_is_a_box() -> None:
    rng = np.random.default_rng(4)
    features, boxes = rng.standard_normal((1, 3, 8, 9)), rng.uniform(-2, 9, (12, 4))
    centres = [(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2]
    sides = [boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]]
    zeros = np.zeros(len(boxes))
    turned = np.column_stack([zeros, *centres, *sides, zeros])
    for mode in ("avg", "max"):
        right = roialign.roi_align(features, np.column_stack([zeros, boxes]), 3, 1.0, 2, mode=mode)
        answer = roialign.roi_align_rotated(features, turned, 3, 1.0, 2, mode=mode)
        assert_close(answer, right, "float64", 10.0)


# Identities


def forward(case: PointCase, inputs: PointInputs, geometry: Geometry, tangent: Geometry | None = None) -> Array:
    where = (case.scales, inputs.images, geometry, inputs.levels, case.output_size)
    return pointwise.forward(case.spec, inputs.features, *where, tangent, inputs.features)


def moved(geometry: Geometry, direction: Geometry, step: float) -> Geometry:
    pairs = zip(geometry, direction, strict=True)
    return Geometry(*(None if part is None else part + step * way for part, way in pairs))  # type: ignore[arg-type]


STEP = 2.0**-21


@every_smooth
def test_forward_tangents_are_slopes(name: str) -> None:
    case, inputs = SMOOTH[name], SMOOTH[name].draw()
    direction = inputs.tangents[0]
    ahead, behind = (forward(case, inputs, moved(inputs.geometry, direction, side * STEP)) for side in (1, -1))
    right = (ahead - behind) / (2 * STEP)
    answer = forward(case, inputs, inputs.geometry, direction)
    assert_close(answer, right, "finite difference", 300 * max(1.0, float(np.abs(right).max())))
    assert np.abs(answer).max() > 1e-3, "a derivative that is zero proves nothing"


@every_smooth
def test_the_adjoint_in_the_geometry_is_the_slope_of_the_loss(name: str) -> None:
    """Along a direction of its own for every number of every RoI, bin offset and bin mask."""
    case, inputs = SMOOTH[name], SMOOTH[name].draw()
    where = (case.scales, inputs.images, inputs.geometry, inputs.levels)
    answer = pointwise.adjoint_geometry(case.spec, inputs.grad_output, inputs.features, *where)
    rng = np.random.default_rng(11)
    for _ in range(4):
        direction = Geometry(*(None if part is None else rng.standard_normal(part.shape) for part in answer))  # type: ignore[arg-type]
        losses = [
            (inputs.grad_output * forward(case, inputs, moved(inputs.geometry, direction, side * STEP))).sum(
                axis=(1, 2, 3)
            )
            for side in (1, -1)
        ]
        right = (losses[0] - losses[1]) / (2 * STEP)
        along = (side_by_side(answer) * side_by_side(direction)).sum(axis=1)
        assert_close(along, right, "finite difference", 1000 * max(1.0, float(np.abs(right).max())))


@pytest.mark.parametrize("case", POINT_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("order", [0, 1])
def test_the_adjoint_in_the_features_is_the_transpose(case: PointCase, order: int) -> None:
    """<G, f(X)> = <f*(G), X>; of a maximum too, whose winners X itself decides."""
    wanted = expected(case.name)
    inputs, answers = wanted.inputs, wanted.answers
    left = np.sum(inputs.grad_output * answers.forward[order])
    pairs = list(
        zip(inputs.features, answers.adjoint_features[order], wanted.scales.adjoint_features[order], strict=True)
    )
    right = sum(np.sum(x * g) for x, g, _ in pairs)
    scale = sum(np.sum(np.abs(x) * s) for x, _, s in pairs)
    assert_close(np.asarray(left), np.asarray(right, dtype=np.float64), "float64", float(scale))


def test_a_maximum_decided_elsewhere_is_linear() -> None:
    case = SMOOTH["max"]
    inputs = case.draw()
    rng = np.random.default_rng(2)
    others = [[rng.standard_normal(level.shape) for level in inputs.features] for _ in range(2)]
    where = (case.scales, inputs.images, inputs.geometry, inputs.levels, case.output_size)

    def at(features: list[Array]) -> Array:
        return pointwise.forward(case.spec, features, *where, None, inputs.features)

    together = at([2.0 * a - 3.0 * b for a, b in zip(*others, strict=True)])
    assert_close(together, 2.0 * at(others[0]) - 3.0 * at(others[1]), "float64", 20.0)
    assert_close(at(inputs.features), forward(case, inputs, inputs.geometry), "float64", 5.0)


def test_the_slope_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    case = SMOOTH["rotated"]
    inputs = replace(case.draw())
    honest = pointwise.map_frame_tangent
    monkeypatch.setattr(pointwise, "map_frame_tangent", lambda *arguments: honest(*arguments)._replace(cosine=0.0))
    ahead, behind = (forward(case, inputs, moved(inputs.geometry, inputs.tangents[0], side * STEP)) for side in (1, -1))
    with pytest.raises(AssertionError, match="values are wrong"):
        assert_close(
            forward(case, inputs, inputs.geometry, inputs.tangents[0]),
            (ahead - behind) / (2 * STEP),
            "finite difference",
            1e4,
        )


def test_exact_maximum_is_at_least_every_regular_one() -> None:
    case = PointCase("max over more", "", roi_align_max("lattice"), kinds=("inside", "border", "covering", "inverted"))
    inputs = case.draw()
    exact = forward(case, inputs, inputs.geometry)
    for ratio in ((2, 3), (7, 7)):
        regular = forward(replace(case, spec=roi_align_max("grid", ratio)), inputs, inputs.geometry)
        assert (regular <= exact + 1e-12).all()
