"""The reference's operators: against their formulas point by point, and the identities that derivatives obey."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import roialign
from roialign._spec import SeparableSpec
from roialign.reference import roi_pool, separable
from tests.tables.answers import expected
from tests.tables.boxes import KINDS, SMOOTH_KINDS
from tests.tables.cases import BY_NAME, CASES, CROP, CROP_FILL, PRROI, Array, Case, Inputs, roi_align_spec
from tests.tables.exact_oracle import exact_taps
from tests.tables.oracles import (
    Points,
    bilinear_point,
    grid_points,
    pointwise_crop_and_resize,
    pointwise_roi_align,
    random_points,
)
from tests.tables.tolerances import assert_close

SEED = 20170322 + 2**40

#: No point or bin end lies on an integer almost surely, so the operator is smooth where it is drawn.
SMOOTH = {
    "grid": roi_align_spec(),
    "grid, not aligned": roi_align_spec("grid", (2, 3), False),
    "random": roi_align_spec("random", (2, 0)),
    "exact": roi_align_spec("exact"),
    "exact, not aligned": roi_align_spec("exact", aligned=False),
    "prroi": PRROI,
    "crop": CROP,
    "crop, fill": CROP_FILL,
}
every_smooth = pytest.mark.parametrize("spec", SMOOTH.values(), ids=SMOOTH)


# The operators as their formulas have them


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [(0, 0), (2, 2), (1, 3), (0, 4)], ids=str)
@pytest.mark.parametrize("sampling", ["grid", "random"])
def test_roi_align_is_its_formula_point_by_point(sampling: Any, ratio: tuple[int, int], aligned: bool) -> None:
    kinds = tuple(kind for kind in KINDS if kind not in ("large", "huge"))
    case = Case("pointwise", "", roi_align_spec(sampling, ratio, aligned), maps=((5, 7),), channels=2, kinds=kinds)
    inputs = case.draw()
    points: Points = grid_points(ratio) if sampling == "grid" else random_points(ratio, SEED)
    right = pointwise_roi_align(inputs.features[0], inputs.rois, case.output_size, case.scales[0], points, aligned)
    answer = separable.forward(case.spec, inputs.features, case.scales, inputs.rois, inputs.levels, case.output_size)
    assert_close(answer, right, "float64", float(np.abs(inputs.features[0]).max()))


@pytest.mark.parametrize("crop_size", [(4, 3), (1, 4), (1, 1)], ids=str)
def test_crop_and_resize_is_its_formula_point_by_point(crop_size: tuple[int, int]) -> None:
    rng = np.random.default_rng(8)
    image = rng.standard_normal((2, 6, 9, 3))
    boxes = np.concatenate([rng.uniform(-0.2, 1.2, (14, 4)), [[0, 0, 1, 1], [1, 1, 0, 0], [0.5, 0.25, 0.5, 0.25]]])
    indices = rng.integers(0, 2, len(boxes))
    right = pointwise_crop_and_resize(image, boxes, indices, crop_size, fill=-2.5)
    answer = roialign.crop_and_resize(image, boxes, indices, crop_size, extrapolation_value=-2.5, backend="reference")
    assert_close(answer, right, "float64", 2.5)


def test_bilinear_interpolate_is_its_formula_point_by_point() -> None:
    rng = np.random.default_rng(9)
    feature = rng.standard_normal((2, 5, 7))
    x = np.concatenate([rng.uniform(-2, 9, 60), [-1, -1, 0, 6, 7, 7, 3]])
    y = np.concatenate([rng.uniform(-2, 7, 60), [-1, 2, 0, 4, 5, 1, 4.999]])
    right = np.stack([bilinear_point(feature, *point) for point in zip(y.tolist(), x.tolist(), strict=True)], axis=-1)
    answer = roialign.bilinear_interpolate(feature, x, y, backend="reference")
    assert_close(answer, right, "float64", float(np.abs(feature).max()))


@pytest.mark.parametrize("spec", [roi_align_spec("exact"), roi_align_spec("exact", aligned=False), PRROI], ids=str)
def test_exact_operators_are_their_integrals(spec: SeparableSpec) -> None:
    """Both axes' weights in rational arithmetic, then the sum over the map."""
    case = Case("integrals", "", spec, maps=((4, 6),), kinds=SMOOTH_KINDS[:3], output_size=(2, 3))
    inputs = case.draw()
    answer = separable.forward(spec, inputs.features, case.scales, inputs.rois, inputs.levels, (2, 3))
    for k, (image, x1, y1, x2, y2) in enumerate(inputs.rois.tolist()):
        starts = [value * case.scales[0] - spec.offset for value in (y1, x1)]
        ends = [value * case.scales[0] - spec.offset for value in (y2, x2)]
        lengths = [max(end - start, spec.minimum_length) for start, end in zip(starts, ends, strict=True)]
        wy, wx = (
            exact_taps(size, start, length, bins, replicated=spec.rule == "exact")
            for size, start, length, bins in zip((4, 6), starts, lengths, (2, 3), strict=True)
        )
        right = wy @ inputs.features[0][int(image)] @ wx.T
        assert_close(answer[k], right, "float64", float(np.abs(inputs.features[0]).max()))


# Values worked out by hand


@pytest.mark.parametrize("sampling", ["grid", "exact"])
def test_a_linear_map_gives_its_value_at_the_middle_of_every_bin(sampling: str) -> None:
    ys, xs = np.mgrid[0:10, 0:10]
    ramp = (10.0 * ys + xs)[None, None]
    box = np.array([[0, 32.0, 32.0, 128.0, 128.0]])
    # 32 / 16 - 0.5 = 1.5 to 7.5: bins of 3 px with their middles at 3 and 6.
    answer = roialign.roi_align(ramp, box, 2, 1 / 16, 2, sampling=sampling, backend="reference")
    np.testing.assert_allclose(answer, [[[[33, 36], [63, 66]]]], rtol=0, atol=1e-12)
    answer = roialign.roi_align(ramp, box, 2, 1 / 16, 2, aligned=False, sampling=sampling, backend="reference")
    np.testing.assert_allclose(answer, [[[[38.5, 41.5], [68.5, 71.5]]]], rtol=0, atol=1e-12)


def test_short_boxes_are_lengthened_to_a_pixel_only_when_not_aligned() -> None:
    ramp = np.arange(8.0)[None, None, None, :].repeat(8, axis=2)
    box = np.array([[0, 2.0, 2.0, 2.5, 2.5]])
    aligned = roialign.roi_align(ramp, box, 1, backend="reference")
    lengthened = roialign.roi_align(ramp, box, 1, aligned=False, backend="reference")
    assert aligned.item() == 1.75
    assert lengthened.item() == 2.5


def test_one_pixel_read_by_every_rule() -> None:
    pixel, box = np.ones((1, 1, 1, 1)), np.array([[0, 0.0, 0.0, 1.0, 1.0]])
    assert roialign.roi_align(pixel, box, 1, sampling="exact", backend="reference").item() == 1.0
    assert roialign.prroi_pool(pixel, box, 1, backend="reference").item() == 0.25
    far = np.array([[0, 1.0, 1.0, 3.0, 3.0]])  # 0.5 to 2.5: half a pixel of border of two
    assert roialign.roi_align(pixel, far, 1, sampling="exact", backend="reference").item() == 0.0625


def test_roi_pool_rounds_its_corners_half_away_from_zero() -> None:
    ramp = np.arange(6.0)[None, None, None, :]
    rows = np.array([[0, 0.5, 0, 2.4, 0], [0, -0.5, 0, 1.5, 0], [0, 9, 0, 12, 0]])
    assert roi_pool(ramp, rows, (1, 1)).ravel().tolist() == [2.0, 2.0, 0.0]
    assert roi_pool(-ramp, rows, (1, 1)).ravel().tolist() == [-1.0, 0.0, 0.0]


# Identities


def draw_smooth(spec: SeparableSpec) -> tuple[Case, Inputs]:
    case = Case("smooth", "", spec, maps=((6, 8), (4, 5)), scales=(0.5, 0.25), kinds=SMOOTH_KINDS, output_size=(2, 3))
    return case, case.draw()


def derivative(case: Case, inputs: Inputs, order: int) -> Array:
    common = (case.scales, inputs.rois, inputs.levels, case.output_size)
    return separable.forward(case.spec, inputs.features, *common, inputs.tangents[:order])


def slope_along(function: Callable[[Array], Any], rois: Array, tangent: Array) -> Any:
    """The central difference of a function of the boxes along a tangent."""
    step = 2.0**-21
    direction = np.concatenate([np.zeros((len(rois), 1)), tangent], axis=1)
    return (function(rois + step * direction) - function(rois - step * direction)) / (2 * step)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_adjoint_in_the_features_is_the_transpose(case: Case, order: int) -> None:
    """<G, f(X)> = <f*(G), X>, for f and for its derivatives along tangents."""
    wanted = expected(case.name)
    inputs, answers = wanted.inputs, wanted.answers
    forward = answers.forward[order]
    if case.spec.fill and order == 0:  # the fill value is an affine part
        forward = forward - separable.forward(
            case.spec,
            [0 * level for level in inputs.features],
            case.scales,
            inputs.rois,
            inputs.levels,
            case.output_size,
        )
    left = np.sum(inputs.grad_output * forward)
    right = sum(np.sum(x * g) for x, g in zip(inputs.features, answers.adjoint_features[order], strict=True))
    scale = sum(
        np.sum(np.abs(x) * g) for x, g in zip(inputs.features, wanted.scales.adjoint_features[order], strict=True)
    )
    assert_close(np.asarray(left), np.asarray(right, dtype=np.float64), "float64", float(scale))


@every_smooth
@pytest.mark.parametrize("order", [0, 1])
def test_forward_tangents_are_slopes(spec: SeparableSpec, order: int) -> None:
    case, inputs = draw_smooth(spec)

    def below(rois: Array) -> Array:
        return derivative(case, replace(inputs, rois=rois), order)

    right = slope_along(below, inputs.rois, inputs.tangents[order])
    answer = derivative(case, inputs, order + 1)
    assert_close(answer, right, "finite difference", 10 * max(1.0, float(np.abs(right).max())))
    assert np.abs(answer).max() > 1e-3, "a derivative that is zero proves nothing"


@every_smooth
@pytest.mark.parametrize("order", [0, 1])
def test_the_adjoint_in_the_boxes_is_the_slope_of_the_loss(spec: SeparableSpec, order: int) -> None:
    """One coordinate at a time; order 1 is what double backward needs."""
    case, inputs = draw_smooth(spec)
    common = (case.scales, inputs.rois, inputs.levels, inputs.tangents[:order])
    answer = separable.adjoint_boxes(spec, inputs.grad_output, inputs.features, *common)

    def losses(rois: Array) -> Array:
        moved = derivative(case, replace(inputs, rois=rois), order)
        return np.asarray((inputs.grad_output * moved).sum(axis=(1, 2, 3)))

    for coordinate in range(4):
        direction = np.zeros((len(inputs.rois), 4))
        direction[:, coordinate] = 1.0
        right = slope_along(losses, inputs.rois, direction)
        assert_close(answer[:, coordinate], right, "finite difference", 30 * max(1.0, float(np.abs(right).max())))


@every_smooth
def test_double_backward(spec: SeparableSpec) -> None:
    """With L = <V, adjoint_boxes(G, X, b)>: dL/dG is the tangent forward, dL/dX its adjoint, dL/db its box gradient."""
    case, inputs = draw_smooth(spec)
    tangents = inputs.tangents[:1]
    common = (case.scales, inputs.rois, inputs.levels)

    def loss(gradient: Array, features: list[Array], rois: Array) -> Array:
        slopes = separable.adjoint_boxes(spec, gradient, features, case.scales, rois, inputs.levels)
        return np.asarray(np.sum(tangents[0] * slopes))

    value = loss(inputs.grad_output, inputs.features, inputs.rois)
    to_gradient = derivative(case, inputs, 1)
    shapes: Any = [level.shape for level in inputs.features]
    to_features = separable.adjoint_features(spec, inputs.grad_output, shapes, *common, tangents)
    # L is linear in G and in X, so that both inner products give it back.
    scale = 100 * max(1.0, abs(float(value)))
    assert_close(np.asarray(np.sum(inputs.grad_output * to_gradient)), value, "float64", scale)
    pairs = zip(inputs.features, to_features, strict=True)
    assert_close(np.asarray(sum(np.sum(x * g) for x, g in pairs)), value, "float64", scale)
    to_boxes = separable.adjoint_boxes(spec, inputs.grad_output, inputs.features, *common, tangents)
    right = slope_along(lambda rois: loss(inputs.grad_output, inputs.features, rois), inputs.rois, inputs.tangents[1])
    assert_close(np.sum(to_boxes * inputs.tangents[1], keepdims=False), right, "finite difference", 300.0 + abs(right))


def test_second_derivatives_are_symmetric() -> None:
    for name in ("exact", "prroi", "grid, 2 x 2"):
        case, inputs = BY_NAME[name], expected(name).inputs
        swapped = replace(inputs, tangents=inputs.tangents[::-1])
        right = expected(name).answers.forward[2]
        assert_close(derivative(case, swapped, 2), right, "float64", expected(name).scales.forward[2], name)


def test_the_transpose_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight dropped in one direction only is seen."""
    case, wanted = BY_NAME["grid, 2 x 2"], expected("grid, 2 x 2")
    honest = separable.taps

    def broken(*arguments: Any, **more: Any) -> Array:
        matrix = honest(*arguments, **more).copy()
        matrix[0] *= 1.001
        return matrix

    monkeypatch.setattr(separable, "taps", broken)
    inputs = wanted.inputs
    answer = separable.forward(case.spec, inputs.features, case.scales, inputs.rois, inputs.levels, case.output_size)
    with pytest.raises(AssertionError, match="values are wrong"):
        assert_close(answer, wanted.answers.forward[0], "float64", wanted.scales.forward[0])
