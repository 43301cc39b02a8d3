"""More elements than 32 bits count, and boxes far larger than the map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import roialign
from roialign._regions import Regions
from roialign.numpy.cpu import separable as cpu
from roialign.reference import separable
from tests.tables.answers import roi_scales
from tests.tables.cases import Array, roi_align_spec
from tests.tables.kernels import DTYPES
from tests.tables.tolerances import assert_close, assert_same_bits

#: Of the far corner of a map: everything else is a hole in a sparse file that is never read.
WINDOW = 24
HEIGHT, WIDTH, CHANNELS = 32816, 32768, 2
assert HEIGHT * WIDTH * CHANNELS > 2**31


def sparse_map(path: Path, shape: tuple[int, ...], corner: Array, place: tuple[slice, ...]) -> Array:
    """A file of that shape, all hole but for `corner`."""
    array = np.memmap(path, dtype=np.float16, mode="w+", shape=shape)
    array[place] = corner
    return np.asarray(array)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("sampling", ["grid", "exact"])
@pytest.mark.unsanitized
def test_more_than_2_to_the_31_elements(tmp_path: Path, layout: str, sampling: str) -> None:
    """The far corner of the map, against the same boxes on a small map that is that corner."""
    corner = np.random.default_rng(1).standard_normal((1, CHANNELS, WINDOW, WINDOW)).astype(np.float16)
    far_y, far_x = HEIGHT - WINDOW, WIDTH - WINDOW
    if layout == "NCHW":
        place: Any = (slice(None), slice(None), slice(far_y, None), slice(far_x, None))
        features = sparse_map(tmp_path / "map", (1, CHANNELS, HEIGHT, WIDTH), corner, place)
        seen = features
    else:
        place = (slice(None), slice(far_y, None), slice(far_x, None))
        features = sparse_map(tmp_path / "map", (1, HEIGHT, WIDTH, CHANNELS), corner.transpose(0, 2, 3, 1), place)
        seen = features.transpose(0, 3, 1, 2)
    assert features.size > 2**31
    # Multiples of 1/64, and far from the window's near edges: moving them is exact, and so is every weight.
    near = np.array([[0, 8.25, 9.5, 20.0, 21.25], [0, 12.0, 12.0, 26.0, 27.5], [0, 22.75, 23.25, 22.875, 23.5]])
    far = near + np.array([0, far_x, far_y, far_x, far_y])
    common: dict[str, Any] = {"sampling": sampling}
    answer = roialign.roi_align(features, far, (3, 4), 1.0, 2, layout=layout, **common)
    pooled = answer if layout == "NCHW" else answer.transpose(0, 3, 1, 2)
    window = corner.astype(np.float64)
    right = roialign.roi_align(window, near, (3, 4), 1.0, 2, backend="reference", **common)
    assert_close(pooled, right, "float16", float(np.abs(window).max()), "forward")
    gradient = np.random.default_rng(2).standard_normal(right.shape).astype(np.float16)
    given = gradient if layout == "NCHW" else np.ascontiguousarray(gradient.transpose(0, 2, 3, 1))
    _, grad_rois = roialign.roi_align_backward(given, features, far, 1.0, 2, need="rois", layout=layout, **common)
    wide = gradient.astype(np.float64)
    _, right_rois = roialign.roi_align_backward(wide, window, near, 1.0, 2, need="rois", backend="reference", **common)
    spec = roi_align_spec(sampling, (2, 2))
    scales = roi_scales(spec, [window], [1.0], near, np.zeros(3, dtype=np.int64), wide).adjoint_boxes[0]
    assert_close(grad_rois[:, 1:], right_rois[:, 1:], "float32", scales, "grad_rois")
    assert seen[0, 1, 0, 0] == 0


def far_apart(path: Path, shape: tuple[int, int, int, int]) -> Array:
    """An array whose first axis alone leaves 32 bits: its items lie 2^31 elements and more apart in a sparse file."""
    stride = 2**31 + 1000
    flat = np.memmap(path, dtype=np.float16, mode="w+", shape=(stride * (shape[0] - 1) + int(np.prod(shape[1:])),))
    inner = np.empty(shape[1:], dtype=np.float16).strides
    array = np.lib.stride_tricks.as_strided(flat, shape, (2 * stride, *inner))
    array[...] = np.nan
    return np.asarray(array)


@pytest.mark.unsanitized
def test_items_more_than_2_to_the_31_elements_apart(tmp_path: Path) -> None:
    """Images, RoIs and gradients, read and written."""
    values = np.random.default_rng(3).standard_normal((2, 3, 4, 4)).astype(np.float16)
    rois, levels = np.array([[1, 0.5, 0.5, 3.5, 3.0], [0, 0.5, 0.5, 3.5, 3.0]]), np.zeros(2, dtype=np.int64)
    features, out = far_apart(tmp_path / "features", values.shape), far_apart(tmp_path / "out", (2, 3, 2, 2))
    features[...] = values
    wide, largest = values.astype(np.float64), float(np.abs(values.astype(np.float64)).max())
    right = roialign.roi_align(wide, rois, 2, backend="reference")
    assert roialign.roi_align(features, rois, 2, out=out) is out
    assert_close(out, right, "float16", largest, "forward")

    grad_features = far_apart(tmp_path / "gradient", values.shape)
    regions = Regions([1.0], rois, levels)
    cpu.adjoint_features(roi_align_spec(), out, (), regions, [grad_features])
    pooled = out.astype(np.float64)
    (right,) = separable.adjoint_features(roi_align_spec(), pooled, [values.shape], [1.0], rois, levels)
    scales = roi_scales(roi_align_spec(), [wide], [1.0], rois, levels, pooled)
    assert_close(grad_features, right, "float16", scales.adjoint_features[0][0], "adjoint_features")
    answer = cpu.adjoint_geometry(roi_align_spec(), out, [features], regions).boxes
    right = separable.adjoint_boxes(roi_align_spec(), pooled, [wide], [1.0], rois, levels)
    assert_close(answer, right, "float32", scales.adjoint_boxes[0], "adjoint_boxes")


@pytest.mark.unsanitized
def test_a_map_of_more_than_2_to_the_31_pixels_has_no_gradient_of_roi_pool(tmp_path: Path) -> None:
    """Pixels of a bin are numbered with 32 bits to find the largest."""
    side = 46341
    features = sparse_map(tmp_path / "features", (1, 1, side, side), np.float16(0), (0, 0, 0, 0))
    box = np.array([[0, 0.0, 0.0, side - 1.0, side - 1.0]])
    with pytest.raises(ValueError, match="features: expected maps of at most 2147483647 pixels, got 46341 x 46341"):
        roialign.roi_pool_backward(np.ones((1, 1, 1, 1), np.float16), features, box)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_one_box_of_1e5_pixels_on_a_real_map(layout: str) -> None:
    """Adaptive: thousands of points a bin, of which the map sees a few."""
    features = np.random.default_rng(4).standard_normal((1, 256, 50, 84)).astype(np.float32)
    rois = np.array([[0, -3e4, -5e4, 7e4, 5e4]])
    given = features if layout == "NCHW" else np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    answer = roialign.roi_align(given, rois, 7, 1 / 16, layout=layout)
    right = roialign.roi_align(features[:, :8].astype(np.float64), rois, 7, 1 / 16, backend="reference")
    pooled = answer if layout == "NCHW" else answer.transpose(0, 3, 1, 2)
    assert_close(pooled[:, :8], right, "float32", float(np.abs(features).max()))
    gradient = np.ones_like(answer)
    grad_features, grad_rois = roialign.roi_align_backward(gradient, given, rois, 1 / 16, layout=layout)
    assert np.isfinite(grad_features).all()
    assert np.isfinite(grad_rois).all()


@pytest.mark.parametrize("extent", [1e5, 1e9, 1e15, 1e17, 1e50, 5e99])
@pytest.mark.parametrize("sampling", ["grid", "random", "exact"])
@pytest.mark.parametrize("ratio", [0, 2, 65536])
def test_boxes_far_larger_than_the_map(extent: float, sampling: str, ratio: int) -> None:
    """Finite, at once, and what the reference says; forward, and both gradients."""
    features = np.random.default_rng(5).standard_normal((1, 2, 4, 5))
    shares = np.array([[-0.3, -0.6, 0.7, 0.4], [-1e-3, -0.5, 1.0, 0.5], [0.9, 0.4, -0.6, -0.2], [-1.0, 0.5, 1.0, 0.7]])
    rois = np.column_stack([np.zeros(4), extent * shares])
    more: dict[str, Any] = {"sampling": sampling, "seed": 9}
    answer = roialign.roi_align(features, rois, 2, 1.0, ratio, **more)
    right = roialign.roi_align(features, rois, 2, 1.0, ratio, backend="reference", **more)
    assert_close(answer, right, "float64", float(np.abs(features).max()), "forward")
    gradients = roialign.roi_align_backward(np.ones_like(answer), features, rois, 1.0, ratio, **more)
    rights = roialign.roi_align_backward(np.ones_like(answer), features, rois, 1.0, ratio, backend="reference", **more)
    for gradient, wanted in zip(gradients, rights, strict=True):
        assert_close(gradient, wanted, "float64", max(1.0, float(np.abs(wanted).max())), "gradient")


def test_the_largest_sampling_ratio() -> None:
    features = np.random.default_rng(6).standard_normal((1, 1, 5, 6))
    rois = np.array([[0, 0.3, 0.2, 5.1, 4.4]])
    dense = roialign.roi_align(features, rois, 1, 1.0, 65536)
    exact = roialign.roi_align(features, rois, 1, 1.0, sampling="exact")
    assert np.abs(dense - exact).max() < 1e-4


def rois_of_all_heights(random: np.random.Generator, height: int, width: int) -> Array:
    """Many RoIs on one map: up to 80 rows tall, some turned over, without size, beyond the edges or beside the map."""
    middle = random.uniform(-10, [width + 10, height + 10], (120, 2))
    size = np.exp(random.uniform(np.log(2), np.log(80), (120, 2)))
    size[::10, 1] *= -1
    size[5::20] = 0
    corners = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    corners[3] += 1000
    corners[4] = [-50, -40, width + 50, height + 40]
    return np.concatenate([np.zeros((120, 1)), corners], axis=1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("size", [(7, 7), (14, 3), (1, 1)])
@pytest.mark.parametrize("sampling", ["grid", "exact"])
def test_planar_maps_with_rows_too_long_for_the_cache(dtype: str, size: tuple[int, int], sampling: str) -> None:
    """Together, tall RoIs are pooled in pieces; the bits are those of RoIs that are pooled one by one."""
    random = np.random.default_rng(6)
    rois = rois_of_all_heights(random, 120, 336)
    features = random.standard_normal((1, 100, 120, 336)).astype(DTYPES[dtype])  # two blocks of channels
    gradient = random.standard_normal((len(rois), 100, *size)).astype(DTYPES[dtype])
    pooled = roialign.roi_align(features, rois, size, 1.0, 2, sampling=sampling)
    _, grad_rois = roialign.roi_align_backward(gradient, features, rois, 1.0, 2, need="rois", sampling=sampling)
    for row in range(len(rois)):
        only = slice(row, row + 1)
        alone = roialign.roi_align(features, rois[only], size, 1.0, 2, sampling=sampling)
        assert_same_bits(pooled[only], alone, f"RoI {row}")
        _, alone = roialign.roi_align_backward(
            gradient[only], features, rois[only], 1.0, 2, need="rois", sampling=sampling
        )
        assert_same_bits(grad_rois[only], alone, f"gradient of RoI {row}")


def gradients_of_maxima(gradient: Array, features: Array, rois: Array, layout: str) -> list[Array]:
    """Of RoIAlign and of RoIPool. All arrays are in NCHW, and the operators get them in `layout`."""
    if layout == "NHWC":
        gradient, features = (np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in (gradient, features))
    aligned, _ = roialign.roi_align_backward(
        gradient, features, rois, 1.0, 2, mode="max", need="features", layout=layout
    )
    pooled = roialign.roi_pool_backward(gradient, features, rois, layout=layout)
    return [answer if layout == "NCHW" else answer.transpose(0, 3, 1, 2) for answer in (aligned, pooled)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("size", [(7, 7), (2, 1)])
def test_gradients_of_maxima_in_planar_maps_of_many_tiles(dtype: str, size: tuple[int, int]) -> None:
    """The bins of a tile share a copy of the pixels that determine the winners. Bins that reach farther have their own.
    Channels-last maps are read in place."""
    random = np.random.default_rng(8)
    rois = rois_of_all_heights(random, 120, 336)
    features = random.standard_normal((1, 36, 120, 336)).astype(DTYPES[dtype])  # in tiles of 32 or 64 pixels
    gradient = random.standard_normal((len(rois), 36, *size)).astype(DTYPES[dtype])
    copied, in_place = (gradients_of_maxima(gradient, features, rois, layout) for layout in ("NCHW", "NHWC"))
    for answer, wanted, name in zip(copied, in_place, ("RoIAlign", "RoIPool"), strict=True):
        assert_same_bits(answer, wanted, name)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("bins", [1, 5])
@pytest.mark.parametrize("name", ["mean", "maximum", "pixels", "rotated", "by position", "deformed"])
def test_large_rois_of_planar_maps(name: str, bins: int, dtype: str) -> None:
    """Where points are few, only their pixels are copied, and bins of pixels are read plane by plane: the same bits."""
    random = np.random.default_rng(5)
    channels = 3 * bins**2 if name == "by position" else 20
    features = random.standard_normal((1, channels, 150, 170)).astype(DTYPES[dtype])
    rois = np.array([[0, 3.2, 2.1, 160.7, 140.2], [0, 40.0, 5.5, 169.0, 149.0], [0, 20.0, 30.0, 31.0, 38.0]])
    turned = np.array([[0, 80.0, 70.0, 150.0, 90.0, 0.3], [0, 90.0, 60.0, 20.0, 140.0, 2.0]])
    offset = random.uniform(-2, 2, (3, 2, bins, bins))
    operators: dict[str, tuple[Any, Any, tuple[Any, ...], dict[str, Any]]] = {
        "mean": (roialign.roi_align, roialign.roi_align_backward, (rois,), {"sampling_ratio": 2}),
        "maximum": (roialign.roi_align, roialign.roi_align_backward, (rois,), {"sampling_ratio": 2, "mode": "max"}),
        "pixels": (roialign.roi_pool, roialign.roi_pool_backward, (rois,), {}),
        "rotated": (
            roialign.roi_align_rotated,
            roialign.roi_align_rotated_backward,
            (turned,),
            {"sampling_ratio": 2},
        ),
        "by position": (roialign.ps_roi_align, roialign.ps_roi_align_backward, (rois,), {"sampling_ratio": 2}),
        "deformed": (
            roialign.deform_roi_pool,
            roialign.deform_roi_pool_backward,
            (rois, offset),
            {"sampling_ratio": 2},
        ),
    }
    forward, backward, boxes, more = operators[name]

    def answers(layout: str) -> list[Array]:
        maps = features if layout == "NCHW" else np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        pooled = forward(maps, *boxes, bins, layout=layout, **more)
        gradients = backward(pooled, maps, *boxes, layout=layout, **more)
        found = [pooled, *(gradients if isinstance(gradients, tuple) else (gradients,))]
        found = [array for array in found if array is not None]
        images = [array.transpose(0, 3, 1, 2) if layout == "NHWC" else array for array in found[:2]]
        return [*images, *found[2:]]

    planar = answers("NCHW")
    for answer, in_place in zip(planar, answers("NHWC"), strict=True):
        assert_same_bits(answer, in_place, name)
    if name == "pixels" and dtype == "float64":
        right = roialign.roi_pool_backward(planar[0], features, rois, backend="reference")
        np.testing.assert_allclose(planar[1], right, rtol=1e-12)


def test_largest_pixels_of_large_rois_with_many_channels() -> None:
    """They are found once, in blocks of channels."""
    random = np.random.default_rng(6)
    features = random.permuted(np.arange(1100 * 48 * 60, dtype=np.float32).reshape(1, 1100, 48, 60), axis=1)
    rois = np.array([[0, 1.0, 2.0, 55.0, 45.0], [0, 10.0, 0.0, 59.0, 40.0], [0, 3.0, 3.0, 12.0, 9.0]])
    gradient = random.standard_normal((3, 1100, 3, 3)).astype(np.float32)
    right = roialign.roi_pool_backward(gradient.astype(np.float64), features.astype(np.float64), rois)
    assert np.count_nonzero(right) > 20_000
    answer = roialign.roi_pool_backward(gradient, features, rois)
    np.testing.assert_allclose(answer, right, rtol=1e-6, atol=1e-6)
    by_reference = roialign.roi_pool_backward(gradient, features, rois, backend="reference")
    np.testing.assert_allclose(answer, by_reference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("channels", [96, 99, 288])  # in one block, and in two that have no power of two
def test_an_answer_larger_than_the_caches(dtype: str, channels: int) -> None:
    """Past 16 MiB it is written past the caches, where it lies at whole cache lines: the bits are the same."""
    random = np.random.default_rng(7)
    features = random.standard_normal((1, 20, 24, channels)).astype(DTYPES[dtype])
    itemsize = features.itemsize
    count = 17 * 2**20 // (7 * 7 * channels * itemsize)
    corners = random.uniform(-2, 22, (count, 2, 2))
    rois = np.column_stack([np.zeros(count), corners.min(axis=1), corners.max(axis=1)])
    shape = (count, 7, 7, channels)
    elements = int(np.prod(shape))
    memory = np.full(elements + 64, np.nan, dtype=DTYPES[dtype])
    start = -memory.ctypes.data % 64 // itemsize
    for offset in (0, 1):  # elements from the start of a cache line
        out = memory[start + offset : start + offset + elements].reshape(shape)
        assert out.ctypes.data % 64 == offset * itemsize
        assert out.nbytes > 16 * 2**20
        roialign.roi_align(features, rois, 7, layout="NHWC", out=out)
        parts = [roialign.roi_align(features, part, 7, layout="NHWC") for part in np.array_split(rois, 16)]
        assert parts[0].nbytes < 16 * 2**20
        np.testing.assert_array_equal(out, np.concatenate(parts))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("width", [256, 257])  # all planes begin at a cache line, or they begin anywhere
def test_a_planar_gradient_larger_than_the_caches(dtype: str, width: int) -> None:
    """The lines of its planes are written past the caches. Its middle is the gradient of a small map."""
    channels, far = 150, 100
    random = np.random.default_rng(11)
    gradient = random.standard_normal((2, channels, 7, 7)).astype(DTYPES[dtype])
    window = np.zeros((1, channels, 48, 64), dtype=DTYPES[dtype])
    large = np.zeros((1, channels, 251, width), dtype=DTYPES[dtype])
    assert large.nbytes > 16 * 2**20
    near = np.array([[0, 4.25, 5.5, 39.25, 33.5], [0, 0.5, 2.0, 56.5, 23.0]])  # bins have whole sizes
    far_away = near + np.array([0, far, far, far, far])
    expected, _ = roialign.roi_align_backward(gradient, window, near, sampling_ratio=2, need="features")
    found, _ = roialign.roi_align_backward(gradient, large, far_away, sampling_ratio=2, need="features")
    place = (slice(None), slice(None), slice(far, far + 48), slice(far, far + 64))
    np.testing.assert_array_equal(found[place], expected)
    found[place] = 0
    assert not found.any()
