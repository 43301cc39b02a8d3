"""Unusual input that has a defined answer: no RoIs, unknown images, boxes of no size or huge, every form of RoIs."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import roialign
from tests.tables.calls import BACKWARD, BINS, EVERY, FORWARD, Call, features_of, ones_like_answer, rois_of
from tests.tables.tolerances import assert_same_bits

GOOD, ROIS = features_of(), rois_of()
every_forward = pytest.mark.parametrize("forward", FORWARD.values(), ids=FORWARD)
every_backward = pytest.mark.parametrize("backward", BACKWARD.values(), ids=BACKWARD)
every_dtype = pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])

#: Rows that are no RoI: a wrong image, or a coordinate that is not finite.
NO_ROIS: list[list[float]] = [
    [2, 1, 1, 4, 4],
    [-1, 1, 1, 4, 4],
    [0.5, 1, 1, 4, 4],
    [np.nan, 1, 1, 4, 4],
    [np.inf, 1, 1, 4, 4],
    [1e300, 1, 1, 4, 4],
    [0, np.nan, 1, 4, 4],
    [1, 1, 1, np.inf, 4],
    [1, 1, -np.inf, 4, 4],
    [0, 1, 1, 4, 1e200],
]


def mixed_rois() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Good and bad rows in turn, and which are good."""
    rows = [row for bad, good in zip(NO_ROIS, np.tile(ROIS, (4, 1)), strict=False) for row in (bad, good.tolist())]
    return np.array(rows), np.arange(len(rows)) % 2 == 1


@every_forward
def test_invalid_zero_gives_zeros_for_bad_rows_and_the_answer_for_good_ones(forward: Call, backend_name: str) -> None:
    rois, good = mixed_rois()
    levels = {"levels": np.zeros(len(rois), dtype=int)} if "multiscale" in forward.__name__ else {}
    answer = forward(GOOD, rois, invalid="zero", backend=backend_name, **levels)
    assert not answer[~good].any()
    levels = {key: value[good] for key, value in levels.items()}
    np.testing.assert_array_equal(answer[good], forward(GOOD, rois[good], backend=backend_name, **levels))


@every_forward
def test_invalid_zero_overwrites_a_buffer(forward: Call, backend_name: str) -> None:
    rois, good = mixed_rois()
    out = np.full((len(rois), 3, *BINS), np.nan)
    assert forward(GOOD, rois, invalid="zero", out=out, backend=backend_name) is out
    assert not out[~good].any()
    assert np.isfinite(out).all()


@every_backward
def test_invalid_zero_gives_bad_rows_no_gradient(backward: Call, backend_name: str) -> None:
    rois, good = mixed_rois()
    grad_features, grad_rois = backward(GOOD, rois, invalid="zero", backend=backend_name)
    right_features, right_rois = backward(GOOD, rois[good], backend=backend_name)
    assert not grad_rois[~good].any()
    np.testing.assert_array_equal(grad_features, right_features)
    np.testing.assert_array_equal(grad_rois[good], right_rois)


def test_a_crop_of_no_image_is_zero_and_not_the_extrapolation_value(backend_name: str) -> None:
    image = GOOD.transpose(0, 2, 3, 1)
    crops = roialign.crop_and_resize(
        image,
        np.tile([0.1, 0.1, 2.0, 2.0], (2, 1)),
        np.array([0, 7]),
        3,
        "bilinear",
        5.0,
        invalid="zero",
        backend=backend_name,
    )
    assert (crops[0, -1, -1] == 5.0).all()
    assert not crops[1].any()


@every_forward
@every_dtype
def test_no_rois_give_an_empty_answer_of_the_right_shape(forward: Call, dtype: Any, backend_name: str) -> None:
    empty: list[tuple[Any, dict[str, Any]]] = [
        (np.zeros((0, 5)), {}),
        (np.zeros((0, 5), dtype=np.int32), {}),
        ([], {}),
        ([np.zeros((0, 4)), np.zeros((0, 4), np.float32)], {}),
        (np.zeros((0, 4)), {"batch_indices": np.zeros(0, dtype=int)}),
    ]
    for rois, more in empty:
        answer = forward(GOOD.astype(dtype), rois, backend=backend_name, **more)
        assert answer.shape == (0, 3, *BINS)
        assert answer.dtype == dtype
        out = np.empty_like(answer)
        assert forward(GOOD.astype(dtype), rois, out=out, backend=backend_name, **more) is out
        nhwc = GOOD.transpose(0, 2, 3, 1).astype(dtype)
        assert forward(nhwc, rois, layout="NHWC", backend=backend_name, **more).shape == (0, *BINS, 3)
    none = np.zeros((0, 3, 6, 8), dtype=dtype)
    assert forward(none, np.zeros((0, 5)), backend=backend_name).shape == (0, 3, *BINS)
    assert forward(none, [], backend=backend_name).shape == (0, 3, *BINS)
    assert forward(GOOD[:, :0].astype(dtype), ROIS, backend=backend_name).shape == (3, 0, *BINS)


@every_backward
def test_no_rois_give_gradients_of_zeros(backward: Call, backend_name: str) -> None:
    for features in (GOOD, GOOD[:0], GOOD.astype(np.float32)):
        grad_features, grad_rois = backward(features, np.zeros((0, 5)), backend=backend_name)
        assert grad_features.shape == features.shape
        assert not grad_features.any()
        assert grad_rois.shape == (0, 5)
    grad_features, grad_rois = backward(GOOD, [], backend=backend_name, grad_output=np.ones((0, 3, *BINS)))
    assert not grad_features.any()
    assert grad_rois == []
    two = backward(GOOD, [np.zeros((0, 4)), np.zeros((0, 4))], backend=backend_name)[1]
    assert [part.shape for part in two] == [(0, 4), (0, 4)]
    grad_features, grad_rois = backward(GOOD[:, :0], ROIS, backend=backend_name)
    assert grad_features.shape == (2, 0, 6, 8)
    assert grad_rois.shape == (3, 5)
    assert not grad_rois.any()


@pytest.mark.parametrize("lead", [(0,), (2, 0), (3,)])
@pytest.mark.parametrize("points", [2, 0])
def test_the_gradient_of_no_maps_and_of_no_points(lead: tuple[int, ...], points: int, backend_name: str) -> None:
    maps, x = np.ones((*lead, 5, 6)), np.ones(points)
    grad_features, (grad_x, grad_y) = roialign.bilinear_interpolate_backward(
        np.ones((*lead, points)), maps, x, x, backend=backend_name
    )
    assert grad_features.shape == maps.shape
    assert grad_features.sum() == points * (maps.size // 30)
    assert grad_x.shape == grad_y.shape == (points,)
    assert not grad_x.any()


def test_no_points_no_crops_no_levels(backend_name: str) -> None:
    assert roialign.bilinear_interpolate(GOOD, np.zeros((0, 4)), 1.0, backend=backend_name).shape == (2, 3, 0, 4)
    image, none = GOOD.transpose(0, 2, 3, 1), np.zeros(0, dtype=int)
    assert roialign.crop_and_resize(image, np.zeros((0, 4)), none, (4, 5), backend=backend_name).shape == (0, 4, 5, 3)
    for rois in (np.zeros((0, 4)), np.zeros((0, 5)), []):
        levels = roialign.fpn_levels(rois, [0.25, 0.125])
        assert levels.shape == (0,)
        assert levels.dtype == np.int64


@every_forward
def test_the_three_structures_of_rois_mean_the_same(forward: Call, backend_name: str) -> None:
    by_image = [ROIS[ROIS[:, 0] == image, 1:] for image in range(2)]
    sorted_rois = np.concatenate([ROIS[ROIS[:, 0] == image] for image in range(2)])
    right = forward(GOOD, sorted_rois, backend=backend_name)
    assert_same_bits(forward(GOOD, by_image, backend=backend_name), right)
    assert_same_bits(forward(GOOD, tuple(by_image), backend=backend_name), right)
    indices = sorted_rois[:, 0].astype(np.int32)
    assert_same_bits(forward(GOOD, sorted_rois[:, 1:], batch_indices=indices, backend=backend_name), right)


@every_backward
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_the_gradient_has_the_structure_of_the_rois(backward: Call, dtype: Any, backend_name: str) -> None:
    rois = np.array([[0, 1, 1, 6, 5], [0, -3, 1, 2, 9], [1, 0, 2, 3, 4]], dtype=dtype)
    expected_dtype = np.float64 if dtype == np.int64 else dtype
    rows = backward(GOOD, rois, backend=backend_name)[1]
    assert rows.shape == (3, 5)
    assert rows.dtype == expected_dtype
    assert not rows[:, 0].any()
    assert rows[:, 1:].any(axis=1).all()
    plain = backward(GOOD, rois[:, 1:], batch_indices=np.array([0, 0, 1]), backend=backend_name)[1]
    assert plain.dtype == expected_dtype
    assert_same_bits(plain, np.ascontiguousarray(rows[:, 1:]))
    first, second = backward(GOOD, [rois[:2, 1:], rois[2:, 1:].astype(np.float32)], backend=backend_name)[1]
    assert first.dtype == expected_dtype
    assert second.dtype == np.float32
    assert_same_bits(first, np.ascontiguousarray(rows[:2, 1:]))
    np.testing.assert_array_equal(second, rows[2:, 1:].astype(np.float32))


@pytest.mark.parametrize("name", EVERY)
def test_integer_boxes_are_exact(name: str, backend_name: str) -> None:
    rows = np.array([[0, 1, 1, 6, 5], [1, 0, 2, 3, 4]])
    whole, real = (EVERY[name](GOOD, rois, backend=backend_name) for rois in (rows, rows.astype(np.float64)))
    for answer, right in zip(whole, real, strict=True):
        np.testing.assert_array_equal(answer, right)


@every_dtype
def test_coordinates_keep_their_precision_whatever_the_features(dtype: Any, backend_name: str) -> None:
    """A box at x = 3000.3 on half-precision features: no coordinate passes through the features' dtype."""
    features = np.zeros((1, 1, 1, 4000), dtype=dtype)
    features[..., 3000] = 1.0
    box = np.array([[0, 3000.3, 0.0, 3000.3, 0.0]], dtype=np.float64)
    answer = roialign.roi_align(features, box, 1, 1.0, 1, aligned=False, backend=backend_name)
    # Lengthened to a pixel, its point is at 3000.8: a weight of 0.2.
    assert abs(float(answer.item()) - 0.2) < 1e-3
    answer = roialign.bilinear_interpolate(features, 3000.25, 0.0, backend=backend_name)
    assert float(answer.item()) == 0.75


@pytest.mark.parametrize("box_dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_image_of_a_half_precision_box_may_lie_beyond_2048(box_dtype: Any, backend_name: str) -> None:
    """In a list or beside batch_indices, no image index passes through the boxes' dtype."""
    images = 2055
    features = np.arange(images, dtype=np.float32).reshape(images, 1, 1, 1)
    boxes = np.zeros((1, 4), dtype=box_dtype)
    per_image = [boxes if image in (2049, 2053) else boxes[:0] for image in range(images)]
    answer = roialign.roi_align(features, per_image, 1, 1.0, 1, backend=backend_name)
    assert answer.ravel().tolist() == [2049.0, 2053.0]
    indices = np.array([2049, 2053], dtype=np.int64)
    answer = roialign.roi_align(
        features, np.repeat(boxes, 2, axis=0), 1, 1.0, 1, batch_indices=indices, backend=backend_name
    )
    assert answer.ravel().tolist() == [2049.0, 2053.0]


@pytest.mark.parametrize("sampling", ["grid", "random", "exact"])
@pytest.mark.parametrize("ratio", [0, 2])
@every_dtype
def test_boxes_of_every_magnitude_give_finite_answers(sampling: str, ratio: int, dtype: Any, backend_name: str) -> None:
    features = GOOD.astype(dtype)
    magnitudes = [1e-300, 1e-12, 1e3, 1e5, 1e9, 1e15, 1e16, 1e18, 1e50, 5e99]
    rois = np.array([[0, sx * m, sy * m, m, m] for m in magnitudes for sx, sy in ((-1, -1), (0, -1), (2, 0.5))])
    more: dict[str, Any] = {"sampling": sampling, "seed": 3, "backend": backend_name}
    answer = roialign.roi_align(features, rois, BINS, 1.0, ratio, **more)
    assert np.isfinite(answer.astype(np.float64)).all()
    assert np.abs(answer.astype(np.float64)).max() <= np.abs(features.astype(np.float64)).max()
    gradient = ones_like_answer(features, rois)
    grad_features, grad_rois = roialign.roi_align_backward(gradient, features, rois, 1.0, ratio, **more)
    assert np.isfinite(grad_features.astype(np.float64)).all()
    assert np.isfinite(grad_rois).all()


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1e20, 1e100])
def test_scales_of_every_magnitude_give_finite_answers(scale: float, backend_name: str) -> None:
    for sampling in ("grid", "exact"):
        answer = roialign.roi_align(GOOD, ROIS, BINS, scale, sampling=sampling, backend=backend_name)
        assert np.isfinite(answer).all()


def test_a_box_of_no_size_is_defined_for_every_operator(backend_name: str) -> None:
    """Adaptive: no points, so 0. A fixed count or exact: the value at the point. Precise RoI Pooling: 0."""
    point = np.array([[0, 3.5, 2.5, 3.5, 2.5]])
    value = GOOD[0, :, 2, 3]
    more: dict[str, Any] = {"backend": backend_name}
    assert not roialign.roi_align(GOOD, point, 2, **more).any()
    for answer in (
        roialign.roi_align(GOOD, point, 2, 1.0, 3, **more),
        roialign.roi_align(GOOD, point, 2, sampling="exact", **more),
    ):
        np.testing.assert_allclose(answer[0], np.broadcast_to(value[:, None, None], (3, 2, 2)), rtol=1e-15)
    assert not roialign.prroi_pool(GOOD, point, 2, **more).any()


def test_nan_in_the_map_stays_in_its_channel_and_image(backend_name: str) -> None:
    features = GOOD.copy()
    features[0, 1, 0, 0] = np.nan
    rois = np.array([[0, 0.0, 0.0, 7.0, 5.0], [1, 0.0, 0.0, 7.0, 5.0]])
    answer = roialign.roi_align(features, rois, 2, backend=backend_name)
    assert np.isnan(answer[0, 1, 0, 0])
    assert np.isfinite(answer[0, ::2]).all()
    assert np.isfinite(answer[1]).all()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_core_reads_a_pixel_for_the_bins_that_it_weighs_in_only(layout: str, value: float) -> None:
    """A NaN or an infinity elsewhere on the map changes nothing."""
    features = np.ones((1, 5, 6, 8))
    features[0, :, 2:, 3:] = value
    rois = np.array([[0, 0.5, 0.5, 3.5, 2.5], [0, 0.0, 0.0, 2.5, 1.5], [0, 0.0, 0.0, 8.0, 2.5]])
    given = features if layout == "NCHW" else np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    answer = roialign.roi_align(given, rois, (2, 3), 1.0, 2, layout=layout)
    first_two = answer[:2] if layout == "NCHW" else answer[:2].transpose(0, 3, 1, 2)
    assert np.isfinite(first_two[1]).all()
    assert np.isfinite(first_two[0, :, 0]).all()
    assert np.isfinite(first_two[0, :, :, 0]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_core_does_not_read_the_neighbour_of_a_point_on_a_pixel(layout: str, value: float) -> None:
    features = np.zeros((1, 5, 9, 9))
    features[:, :, 2] = value
    given = features if layout == "NCHW" else np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    on_row_1 = np.array([[0, 0.5, 1.0, 7.5, 2.0]])
    assert not roialign.roi_align(given, on_row_1, (1, 2), 1.0, 1, layout=layout).any()
    assert not roialign.bilinear_interpolate(features[0, 0], np.array([1.0]), np.array([1.0])).any()
    shape = (1, 5, 2, 2) if layout == "NCHW" else (1, 2, 2, 5)
    grad_output = np.zeros(shape)
    grad_output[(..., 1, slice(None)) if layout == "NCHW" else (slice(None), 1)] = value  # of the bins on row 1
    on_rows_0_and_1 = np.array([[0, 0.5, 0.0, 7.5, 2.0]])
    gradient = roialign.roi_align_backward(
        grad_output, given, on_rows_0_and_1, 1.0, 1, need=("features",), layout=layout
    )[0]
    rows = np.isfinite(gradient).all(axis=(0, 1, 3) if layout == "NCHW" else (0, 2, 3))
    assert rows.tolist() == [True, False] + [True] * 7


@every_forward
def test_out_is_written_through_any_strides(forward: Call, backend_name: str) -> None:
    right = forward(GOOD, ROIS, backend=backend_name)
    storage = np.full((6, 9, 2, 3), np.nan)
    out = storage[::-2, ::3]
    assert forward(GOOD, ROIS, out=out, backend=backend_name) is out
    assert_same_bits(np.ascontiguousarray(out), right)
    assert np.isnan(storage).sum() == storage.size - out.size
