"""Rotated boxes: conventions that mean the same rectangle, corners, hulls, minimal rectangles, scaling, flips."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from roialign.detection import rotated_boxes
from roialign.detection.rotated_boxes import (
    CONVENTIONS,
    corners,
    flipped,
    from_detectron2,
    from_polygons,
    from_upright,
    hulls,
    scaled,
    to_convention,
    to_detectron2,
)
from roialign.files.rectangles import convex_hull, minimal_rectangle

QUARTER = math.pi / 2
#: The bounds of the angle: the lower one belongs to `le90` and `le135`, the upper one to `oc`.
BOUNDS = {"le90": (-QUARTER, QUARTER), "oc": (0.0, QUARTER), "le135": (-0.5 * QUARTER, 1.5 * QUARTER)}


def _boxes(count: int = 200, dtype: torch.dtype = torch.float64) -> Tensor:
    """Boxes with any angle, and among them the angles at which the conventions change."""
    generator = np.random.default_rng(0)
    boxes = generator.uniform([-50, -50, 1, 1, -10], [50, 50, 40, 40, 10], (count, 5))
    edges = np.arange(-8, 9) * QUARTER / 2
    boxes[: 3 * len(edges), 4] = np.concatenate([edges, np.nextafter(edges, -99), np.nextafter(edges, 99)])
    boxes[-1, 4] = -1e-300  # adding pi to it gives pi
    return torch.from_numpy(boxes).to(dtype)


def _distance(found: Tensor, points: Tensor) -> float:
    """The largest distance of corners from those of the same rectangles, whichever corner is the first."""
    turned = torch.stack([points.roll(turn, dims=1) for turn in range(4)])
    return float((corners(found) - turned).abs().amax(dim=(2, 3)).amin(dim=0).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_convention_means_the_same_rectangle(convention: str, dtype: torch.dtype) -> None:
    boxes = _boxes(dtype=dtype)
    converted = to_convention(boxes, convention)
    low, high = BOUNDS[convention]
    angles = converted[:, 4].double()
    rounding = 2e-7 if dtype == torch.float32 else 0.0  # of pi itself
    if convention == "oc":
        assert angles.gt(low).all()
        assert angles.le(high + rounding).all()
    else:
        assert angles.ge(low - rounding).all()
        assert angles.lt(high + rounding).all()
        assert converted[:, 2].ge(converted[:, 3]).all()
    assert torch.equal(to_convention(converted, convention), converted)
    assert _distance(converted, corners(boxes)) < (1e-4 if dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize("source", CONVENTIONS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_conversions_through_another_convention_agree(source: str, convention: str) -> None:
    boxes = _boxes()[60:-1]  # at the edges of the ranges, rounding may give either end
    there = to_convention(to_convention(boxes, source), convention)
    assert torch.allclose(there, to_convention(boxes, convention), rtol=0, atol=1e-12)


def test_the_conventions_of_one_box_by_hand() -> None:
    """A bar of 40 x 10 whose long side rises to the right by 30 degrees: counter-clockwise on the screen."""
    bar = torch.tensor([[0.0, 0, 40, 10, -math.radians(30)]], dtype=torch.float64)
    expected = {"le90": (40, 10, -30), "oc": (10, 40, 60), "le135": (40, 10, -30)}
    for convention, (width, height, degrees) in expected.items():
        row = to_convention(bar, convention)[0].tolist()
        assert row[2:4] == [width, height]
        assert math.degrees(row[4]) == pytest.approx(degrees)
    assert to_detectron2(bar)[0].tolist() == pytest.approx([0, 0, 40, 10, 30])
    assert from_detectron2(torch.tensor([[0, 0, 10.0, 40, 120]]).double())[0].tolist() == pytest.approx(bar[0].tolist())
    steep = torch.tensor([[0.0, 0, 40, 10, math.radians(-60)]], dtype=torch.float64)
    assert math.degrees(float(to_convention(steep, "le135")[0, 4])) == pytest.approx(120)


def test_upright_boxes_at_the_edge_of_each_range() -> None:
    tall = from_upright(torch.tensor([[10.0, 20, 14, 40]], dtype=torch.float64))
    assert tall[0].tolist() == [12, 30, 20, 4, -QUARTER]
    assert to_convention(tall, "oc")[0].tolist() == [12, 30, 20, 4, QUARTER]
    assert to_convention(tall, "le135")[0].tolist() == [12, 30, 20, 4, QUARTER]
    assert torch.allclose(hulls(tall), torch.tensor([[10.0, 20, 14, 40]], dtype=torch.float64), rtol=0, atol=1e-14)


def test_corners_and_hull_by_hand() -> None:
    """A 3-4-5 triangle: cosine 0.8, sine 0.6. The side `width` goes down to the right."""
    box = torch.tensor([[10.0, 20, 10, 5, math.asin(0.6)]], dtype=torch.float64)
    expected = [[7.5, 15.0], [15.5, 21.0], [12.5, 25.0], [4.5, 19.0]]
    assert np.allclose(corners(box)[0].numpy(), expected, rtol=0, atol=1e-12)
    assert np.allclose(hulls(box)[0].numpy(), [4.5, 15.0, 15.5, 25.0], rtol=0, atol=1e-12)


def test_hulls_contain_the_corners_and_touch_them() -> None:
    points, hull = corners(_boxes()), hulls(_boxes())
    assert torch.allclose(points.amin(dim=1), hull[:, :2], rtol=0, atol=1e-11)
    assert torch.allclose(points.amax(dim=1), hull[:, 2:], rtol=0, atol=1e-11)


def test_polygons_of_rectangles_give_them_back() -> None:
    boxes = to_convention(_boxes())
    found = from_polygons(corners(boxes))
    assert _distance(found, corners(boxes)) < 1e-11
    assert torch.equal(to_convention(found), found)


def test_the_minimal_rectangle_is_the_best_of_many_angles() -> None:
    generator = np.random.default_rng(1)
    for count in (3, 4, 7, 200):
        points = generator.normal(size=(count, 2)) * [5, 2] + [1e4, -3e3]
        x, y, width, height, angle = minimal_rectangle(points)
        axes = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        inside = np.abs((points - [x, y]) @ axes.T)
        assert inside.max(axis=0) == pytest.approx([width / 2, height / 2])
        angles = np.linspace(0, np.pi, 2000)
        u = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        v = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
        areas = np.ptp(points @ u.T, axis=0) * np.ptp(points @ v.T, axis=0)
        assert width * height <= areas.min() * (1 + 1e-12)
        assert width * height >= areas.min() * 0.99


def test_minimal_rectangles_of_points_on_a_line_have_no_height() -> None:
    assert minimal_rectangle(np.array([[3.0, 4.0]] * 5)) == (3, 4, 0, 0, 0)
    line = minimal_rectangle(np.array([[0.0, 0.0], [1, 1], [2, 2], [4, 4]]))
    assert line == pytest.approx((2, 2, math.sqrt(32), 0, math.pi / 4))
    assert minimal_rectangle(np.array([[0.0, 0.0], [0, 8]])) == pytest.approx((0, 4, 8, 0, -QUARTER))


def test_the_hull_leaves_out_points_inside_and_on_its_edges() -> None:
    square = [[0, 0], [2, 0], [2, 2], [0, 2]]
    hull = convex_hull(np.array([*square, [1, 0], [1, 1], [2, 1], [0, 0]], dtype=float))
    assert sorted(hull.tolist()) == sorted(square)


def test_scaling_both_sides_alike_scales_the_corners() -> None:
    boxes = _boxes()
    assert _distance(scaled(boxes, 2.5, 2.5), corners(boxes) * 2.5) < 1e-10


def test_scaling_unequally_keeps_the_direction_of_the_long_side() -> None:
    """A bar along (4, 3) on an image stretched to twice its width lies along (8, 3)."""
    bar = torch.tensor([[10.0, 20, 10, 1, math.atan2(3, 4)]], dtype=torch.float64)
    x, y, width, height, angle = scaled(bar, 2.0, 1.0)[0].tolist()
    assert (x, y, angle) == pytest.approx((20, 20, math.atan2(3, 8)))
    assert width == pytest.approx(math.hypot(2 * 8, 6))
    assert height == pytest.approx(math.hypot(2 * 0.6, 0.8))
    boxes = from_upright(torch.tensor([[10.0, 20, 14, 40]], dtype=torch.float64))
    assert torch.allclose(hulls(scaled(boxes, 3.0, 0.5)), torch.tensor([[30.0, 10, 42, 20]]).double(), atol=1e-12)


@pytest.mark.parametrize("vertically", [False, True])
def test_a_flip_moves_the_corners(vertically: bool) -> None:
    boxes = _boxes()
    mirrored = corners(boxes)
    axis, side = (1, 30.0) if vertically else (0, 70.0)
    mirrored[..., axis] = side - mirrored[..., axis]
    found = flipped(boxes, (30.0, 70.0), vertically=vertically)
    assert torch.equal(to_convention(found), found)
    assert _distance(found, mirrored.flip(1)) < 1e-10  # clockwise again


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"boxes: expected shape \[\.\.\., 5\], got \[3, 4\]"):
        to_convention(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="convention: expected one of le90, oc, le135, got 'le180'"):
        to_convention(torch.zeros(3, 5), "le180")
    for function in (
        corners,
        hulls,
        to_detectron2,
        lambda boxes: flipped(boxes, (9, 9)),
        lambda boxes: scaled(boxes, 2, 2),
    ):
        with pytest.raises(ValueError, match=r"boxes: expected shape \[\.\.\., 5\], got \[3, 4\]"):
            function(torch.zeros(3, 4))
    for shape in ((4, 2), (1, 0, 2), (1, 4, 3)):
        with pytest.raises(ValueError, match=r"polygons: expected shape \[L, P, 2\] with at least one point, got"):
            from_polygons(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"polygons\[1\]: expected finite numbers"):
        from_polygons(torch.tensor([[[0.0, 0], [1, 0], [1, 1]], [[0, 0], [1, math.nan], [1, 1]]]))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_large_angles_are_in_the_range(convention: str) -> None:
    boxes = torch.tensor([[5.0, 5, 4, 2, angle] for angle in (1e3, -1e6, 1e9, -3e38)])
    found = to_convention(boxes, convention)
    lowest = {"le90": -math.pi / 2, "le135": -math.pi / 4, "oc": 0.0}[convention]
    period = math.pi / 2 if convention == "oc" else math.pi
    assert ((found[:, 4] >= lowest - 1e-6) & (found[:, 4] <= lowest + period + 1e-6)).all()
    assert torch.equal(to_convention(found, convention), found)


def test_polygons_of_integers_have_boxes_of_fractions() -> None:
    found = from_polygons(torch.tensor([[[0, 0], [8, 6], [5, 10], [-3, 4]]]))
    torch.testing.assert_close(found, torch.tensor([[2.5, 5, 10, 5, math.atan2(3, 4)]], dtype=torch.float64))


def test_no_boxes_give_no_boxes() -> None:
    none = torch.zeros(0, 5)
    assert corners(none).shape == (0, 4, 2)
    assert from_polygons(torch.zeros(0, 4, 2)).shape == (0, 5)
    assert hulls(to_convention(none, "oc")).shape == (0, 4)


def test_the_example_runs() -> None:
    assert doctest.testmod(rotated_boxes).attempted > 0
    assert doctest.testmod(rotated_boxes).failed == 0
