"""What a user can get wrong: every message, naming the argument, the row, what was expected and what came."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import roialign
from tests.tables.calls import BACKWARD, EVERY, FORWARD, features_of, rois_of


class Tensor:
    """Looks like another framework's array by its name alone."""


Tensor.__module__ = "torch"
ARRAY_OF_JAX = type("ArrayImpl", (), {"__module__": "jaxlib._jax"})

GOOD, ROIS = features_of(), rois_of()
BOXES, INDICES = ROIS[:, 1:], np.array([0, 1, 0])


def edited(row: int, column: int, value: float) -> Any:
    rois = rois_of()
    rois[row, column] = value
    return rois


#: features, rois, more arguments, error, text; the same for every operator on RoIs and its backward twin.
SHARED: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    (Tensor(), ROIS, {}, TypeError, "expected a numpy.ndarray, like the other arguments, got torch.Tensor"),
    (
        ARRAY_OF_JAX(),
        ROIS,
        {},
        TypeError,
        "expected a numpy.ndarray, like the other arguments, got jaxlib._jax.ArrayImpl",
    ),
    ([[1.0]], ROIS, {}, TypeError, "expected a numpy.ndarray, got builtins.list"),
    (GOOD[0], ROIS, {}, ValueError, "expected 4 dimensions [N, C, H, W], got shape (3, 6, 8)"),
    (GOOD.astype(np.int64), ROIS, {}, TypeError, "expected dtype float64, float32, float16, bfloat16, got int64"),
    (GOOD.astype(np.complex128), ROIS, {}, TypeError, "bfloat16, got complex128"),
    (GOOD.astype(">f8"), ROIS, {}, TypeError, "features: expected the native byte order, got >f8"),
    (GOOD[:, :, :0], ROIS, {}, ValueError, "expected a map of at least 1 x 1 pixels, got shape (2, 3, 0, 8) (NCHW)"),
    (GOOD[..., :0], ROIS, {}, ValueError, "expected a map of at least 1 x 1 pixels, got shape (2, 3, 6, 0) (NCHW)"),
    (GOOD, Tensor(), {}, TypeError, "rois: expected a numpy.ndarray, like the other arguments, got torch.Tensor"),
    (GOOD, None, {}, TypeError, "rois: expected a numpy.ndarray, got builtins.NoneType"),
    (GOOD, BOXES, {}, ValueError, "rois: expected shape [K, 5] with rows (image, x1, y1, x2, y2), got (3, 4)"),
    (GOOD, ROIS[0], {}, ValueError, "rois: expected shape [K, 5], got (5,)"),
    (GOOD, np.ones((3, 6)), {}, ValueError, "rois: expected shape [K, 5], got (3, 6)"),
    (GOOD, np.ones((3, 5), dtype=bool), {}, TypeError, "rois: expected a real dtype (float or integer), got bool"),
    (
        GOOD,
        np.ones((3, 5), dtype=complex),
        {},
        TypeError,
        "rois: expected a real dtype (float or integer), got complex128",
    ),
    (GOOD, np.ones((3, 5), dtype=object), {}, TypeError, "rois: expected a real dtype (float or integer), got object"),
    (GOOD, [BOXES], {}, ValueError, "rois: expected one array of boxes per image (2), got 1"),
    (GOOD, [BOXES, BOXES.tolist()], {}, TypeError, "rois[1]: expected a numpy.ndarray, got builtins.list"),
    (GOOD, [BOXES, ROIS], {}, ValueError, "rois[1]: expected shape [K, 4], got (3, 5)"),
    (
        GOOD,
        [BOXES, BOXES],
        {"batch_indices": INDICES},
        ValueError,
        "batch_indices: expected None if boxes are given as a list",
    ),
    (GOOD, ROIS, {"batch_indices": INDICES}, ValueError, "rois: expected shape [K, 4], got (3, 5)"),
    (
        GOOD,
        BOXES,
        {"batch_indices": INDICES[:2]},
        ValueError,
        "batch_indices: expected shape [3], one per row of rois, got (2,)",
    ),
    (GOOD, BOXES, {"batch_indices": 1.0 * INDICES}, TypeError, "batch_indices: expected an integer dtype, got float64"),
    (
        GOOD,
        BOXES,
        {"batch_indices": [0, 1, 0]},
        TypeError,
        "batch_indices: expected a numpy.ndarray, got builtins.list",
    ),
    (
        GOOD,
        BOXES,
        {"batch_indices": np.array([0, 1, 2])},
        ValueError,
        "batch_indices[2]: expected an integer batch index 0 <= index < 2, got 2",
    ),
    (GOOD, edited(1, 0, 2), {}, ValueError, "rois[1]: expected an integer batch index 0 <= index < 2, got 2"),
    (GOOD, edited(1, 0, -1), {}, ValueError, "rois[1]: expected an integer batch index 0 <= index < 2, got -1"),
    (GOOD, edited(2, 0, 0.5), {}, ValueError, "rois[2]: expected an integer batch index 0 <= index < 2, got 0.5"),
    (GOOD, edited(2, 0, 1e300), {}, ValueError, "rois[2]: expected an integer batch index 0 <= index < 2"),
    (GOOD, edited(0, 0, np.nan), {}, ValueError, "rois[0]: expected an integer batch index 0 <= index < 2, got nan"),
    (GOOD, edited(0, 0, np.inf), {}, ValueError, "rois[0]: expected an integer batch index 0 <= index < 2, got inf"),
    (GOOD, edited(1, 2, np.nan), {}, ValueError, "rois[1]: expected finite coordinates, got (0.0, nan, 3.0, 4.0)"),
    (GOOD, edited(1, 4, np.inf), {}, ValueError, "rois[1]: expected finite coordinates, got (0.0, 2.0, 3.0, inf)"),
    (GOOD, edited(1, 1, -np.inf), {"invalid": "raise"}, ValueError, "rois[1]: expected finite coordinates, got (-inf"),
    (GOOD, edited(2, 3, 1e101), {}, ValueError, "rois[2]: expected finite coordinates"),
    (
        GOOD,
        [BOXES, edited(1, 2, np.nan)[:, 1:]],
        {},
        ValueError,
        "rois[1][1]: expected finite coordinates, got (0",
    ),
    (GOOD, ROIS, {"layout": "NWHC"}, ValueError, "layout: expected one of 'NCHW', 'NHWC', got 'NWHC'"),
    (GOOD, ROIS, {"layout": None}, ValueError, "layout: expected one of 'NCHW', 'NHWC', got None"),
    (GOOD, ROIS, {"invalid": "skip"}, ValueError, "invalid: expected one of 'raise', 'zero', got 'skip'"),
    (GOOD, ROIS, {"backend": "gpu"}, ValueError, "backend: expected one of 'cpu', 'reference', got 'gpu'"),
    (
        GOOD,
        ROIS,
        {"backend": "triton"},
        ValueError,
        "backend: 'triton' needs CUDA tensors, got features as a numpy.ndarray",
    ),
    (GOOD, ROIS, {"spatial_scale": 0}, ValueError, "expected a positive number, got 0"),
    (GOOD, ROIS, {"spatial_scale": -0.25}, ValueError, "expected a positive number, got -0.25"),
    (GOOD, ROIS, {"spatial_scale": np.nan}, ValueError, "expected a positive number, got nan"),
    (GOOD, ROIS, {"spatial_scale": np.inf}, ValueError, "expected a positive number, got inf"),
    (GOOD, ROIS, {"spatial_scale": 1e200}, ValueError, "expected a positive number up to 1e+100, got 1e+200"),
    (GOOD, ROIS, {"spatial_scale": 10**400}, ValueError, "expected a number up to 1e+100, got a larger integer"),
    (GOOD, ROIS, {"spatial_scale": "1"}, TypeError, "expected a number, got '1'"),
    (GOOD, ROIS, {"spatial_scale": None}, TypeError, "expected a number, got None"),
    (GOOD, ROIS, {"spatial_scale": (1.0, 1.0)}, TypeError, "expected a number, got (1.0, 1.0)"),
]

#: Of roi_align and multiscale_roi_align, forward and backward.
SAMPLED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"mode": "sum"}, ValueError, "mode: expected one of 'avg', 'max', got 'sum'"),
    ({"sampling": "dense"}, ValueError, "sampling: expected one of 'grid', 'random', 'exact', got 'dense'"),
    ({"sampling_ratio": -2}, ValueError, "sampling_ratio: expected at least -1, got -2"),
    ({"sampling_ratio": (2, -3)}, ValueError, "sampling_ratio: expected at least -1, got (2, -3)"),
    (
        {"sampling_ratio": 65537},
        ValueError,
        "sampling_ratio: expected at most 65536, got 65537; sampling='exact' is the limit",
    ),
    ({"sampling_ratio": (2, 65537)}, ValueError, "sampling_ratio: expected at most 65536, got (2, 65537)"),
    ({"sampling_ratio": 1.5}, TypeError, "sampling_ratio: expected an int or a pair of ints (y, x), got 1.5"),
    ({"sampling_ratio": True}, TypeError, "sampling_ratio: expected an int or a pair of ints (y, x), got True"),
    ({"sampling_ratio": (1, 2, 3)}, ValueError, "sampling_ratio: expected an int or a pair (y, x), got (1, 2, 3)"),
    ({"sampling": "random", "seed": -1}, ValueError, "seed: expected 0 <= seed < 2**64, got -1"),
    ({"sampling": "random", "seed": 2**64}, ValueError, f"seed: expected 0 <= seed < 2**64, got {2**64}"),
    ({"sampling": "random", "seed": True}, TypeError, "seed: expected "),
    ({"sampling": "random", "seed": 1.0}, TypeError, "seed: expected "),
]

OUTPUT_SIZES: list[tuple[Any, type[Exception], str]] = [
    (0, ValueError, "expected at least 1, got 0"),
    ((7, -1), ValueError, "expected at least 1, got (7, -1)"),
    ((1, 2, 3), ValueError, "expected an int or a pair (y, x), got (1, 2, 3)"),
    (7.0, TypeError, "expected an int or a pair of ints (y, x), got 7.0"),
    (True, TypeError, "expected an int or a pair of ints (y, x), got True"),
    (None, TypeError, "expected an int or a pair of ints (y, x), got None"),
    (2**31, ValueError, f"expected at most {2**31 - 1}, got {2**31}"),
]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("features", "rois", "more", "error", "text"), SHARED, ids=[row[-1][:60] for row in SHARED])
def test_shared_arguments(
    name: str, features: Any, rois: Any, more: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        EVERY[name](features, rois, **{"backend": "reference", **more})


@pytest.mark.parametrize("name", [name for name in EVERY if "roi_align" in name])
@pytest.mark.parametrize(("more", "error", "text"), SAMPLED, ids=[row[-1] for row in SAMPLED])
def test_sampling_arguments(name: str, more: dict[str, Any], error: type[Exception], text: str) -> None:
    if "max" in name:  # which looks at every point of a bin
        text = text.replace("65536", "256 with mode='max'").replace("; sampling='exact' is the limit", "")
    with pytest.raises(error, match=re.escape(text)):
        EVERY[name](GOOD, ROIS, backend="reference", **more)


@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize(("size", "error", "text"), OUTPUT_SIZES, ids=[row[-1] for row in OUTPUT_SIZES])
def test_output_size(name: str, size: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(f"output_size: {text}")):
        FORWARD[name](GOOD, ROIS, output_size=size, backend="reference")


def test_the_argument_is_named_as_the_caller_knows_it() -> None:
    with pytest.raises(ValueError, match=r"^features: expected 4 dimensions"):
        roialign.roi_align(GOOD[0], ROIS, 2, backend="reference")
    with pytest.raises(ValueError, match=r"^features\[1\]: expected 4 dimensions"):
        roialign.multiscale_roi_align([GOOD, GOOD[0]], ROIS, 2, [1, 0.5], backend="reference")
    with pytest.raises(ValueError, match=r"^spatial_scale: expected a positive"):
        roialign.prroi_pool(GOOD, ROIS, 2, -1, backend="reference")
    with pytest.raises(ValueError, match=r"^spatial_scales\[1\]: expected a positive"):
        roialign.multiscale_roi_align([GOOD, GOOD], ROIS, 2, [1, 0], backend="reference")
    nhwc = GOOD.transpose(0, 2, 3, 1)[:, :0]
    with pytest.raises(
        ValueError, match=r"^features: expected a map of at least 1 x 1 pixels, got shape \(2, 0, 8, 3\) \(NHWC\)"
    ):
        roialign.roi_align(nhwc, ROIS, 2, layout="NHWC", backend="reference")


@pytest.mark.parametrize("name", BACKWARD)
def test_grad_output_and_need(name: str) -> None:
    backward = BACKWARD[name]
    rows: list[tuple[Any, type[Exception], str]] = [
        (np.ones((3, 3, 2)), ValueError, "grad_output: expected 4 dimensions [K, C, PH, PW], got shape (3, 3, 2)"),
        (np.ones((2, 3, 2, 3)), ValueError, "grad_output: expected shape [3, 3, 'PH', 'PW'], got (2, 3, 2, 3)"),
        (np.ones((3, 4, 2, 3)), ValueError, "grad_output: expected shape [3, 3, 'PH', 'PW'], got (3, 4, 2, 3)"),
        (np.ones((3, 3, 0, 3)), ValueError, "grad_output: expected shape [3, 3, 'PH', 'PW'], got (3, 3, 0, 3)"),
        (
            np.ones((3, 3, 2, 3), np.float32),
            TypeError,
            "grad_output: expected the dtype of features, float64, got float32",
        ),
        ([1.0], TypeError, "grad_output: expected a numpy.ndarray, got builtins.list"),
    ]
    for gradient, error, text in rows:
        with pytest.raises(error, match=re.escape(text)):
            backward(GOOD, ROIS, grad_output=gradient, backend="reference")
    names = "'features', 'rois', 'offset', 'mask'" if "deform" in name else "'features', 'rois'"
    with pytest.raises(ValueError, match=re.escape(f"need: expected one of {names}, got 'boxes'")):
        backward(GOOD, ROIS, need=("features", "boxes"), backend="reference")
    with pytest.raises(ValueError, match=re.escape(f"need: expected one of {names}, got 3")):
        backward(GOOD, ROIS, need=(3,), backend="reference")


def test_need_says_what_is_computed() -> None:
    for name, backward in BACKWARD.items():
        both = backward(GOOD, ROIS, backend="reference")
        features_only = backward(GOOD, ROIS, need="features", backend="reference")
        rois_only = backward(GOOD, ROIS, need=["rois"], backend="reference")
        assert features_only[1] is None, name
        assert rois_only[0] is None, name
        np.testing.assert_array_equal(features_only[0], both[0])
        np.testing.assert_array_equal(rois_only[1], both[1])
        assert backward(GOOD, ROIS, need=(), backend="reference") == (None, None), name


@pytest.mark.parametrize("name", [name for name in BACKWARD if "roi_align" in name])
def test_the_backward_pass_needs_the_seed_of_the_forward_pass(name: str) -> None:
    for seed in (None, np.random.default_rng(1)):
        with pytest.raises(TypeError, match=re.escape("seed: expected the int that the forward pass was given, got ")):
            BACKWARD[name](GOOD, ROIS, sampling="random", seed=seed, backend="reference")


def test_out() -> None:
    shape = (3, 3, 2, 3)
    read_only = np.empty(shape)
    read_only.flags.writeable = False
    shared = np.empty(GOOD.size + 200)
    features = shared[: GOOD.size].reshape(GOOD.shape)
    features[...] = GOOD
    rois = shared[GOOD.size : GOOD.size + 15].reshape(3, 5)
    rois[...] = ROIS
    rows: list[tuple[Any, type[Exception], str]] = [
        (np.empty((3, 3, 3, 2)), ValueError, "out: expected shape (3, 3, 2, 3), got (3, 3, 3, 2)"),
        (np.empty(shape, np.float32), TypeError, "out: expected dtype float64, got float32"),
        (read_only, ValueError, "out: expected a writeable array, got a read-only array"),
        (
            np.lib.stride_tricks.as_strided(np.empty(6), shape, (0, 0, 24, 8)),
            ValueError,
            "out: expected elements that do not",
        ),
        (
            np.lib.stride_tricks.as_strided(np.empty(99), shape, (8, 8, 8, 8)),
            ValueError,
            "out: expected elements that do not",
        ),
        (shared[10:64].reshape(shape), ValueError, "out: expected memory that no input uses, got"),
        (shared[GOOD.size + 4 :][:54].reshape(shape), ValueError, "out: expected memory that no input uses"),
        ([0.0], TypeError, "out: expected a numpy.ndarray, got builtins.list"),
        (Tensor(), TypeError, "out: expected a numpy.ndarray, like the other arguments, got torch.Tensor"),
    ]
    for forward in FORWARD.values():
        for out, error, text in rows:
            with pytest.raises(error, match=re.escape(text)):
                forward(features, rois, out=out, backend="reference")
    with pytest.raises(ValueError, match=re.escape("out: expected shape (3, 2, 3, 3), got (3, 3, 2, 3)")):
        roialign.roi_align(
            GOOD.transpose(0, 2, 3, 1), ROIS, (2, 3), layout="NHWC", out=np.empty(shape), backend="reference"
        )


def test_multiscale_arguments() -> None:
    half = GOOD[:, :, ::2, ::2]
    rows: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
        (GOOD, [1.0], {}, TypeError, "features: expected a list of arrays, one per level, got ndarray"),
        ([], [], {}, ValueError, "features: expected a list of arrays, one per level, got an empty one"),
        ([GOOD, half], [1.0], {}, ValueError, "spatial_scales: expected one scale per level (2), got 1"),
        ([GOOD, half], 1.0, {}, TypeError, "spatial_scales: expected a sequence of numbers, got 1.0"),
        (
            [GOOD, half[:1]],
            [1, 0.5],
            {},
            ValueError,
            "features[1]: expected the images and channels of features[0], 2 and 3, got 1 and 3",
        ),
        (
            [GOOD, half[:, :2]],
            [1, 0.5],
            {},
            ValueError,
            "features[1]: expected the images and channels of features[0], 2 and 3, got 2 and 2",
        ),
        (
            [GOOD, half.astype(np.float32)],
            [1, 0.5],
            {},
            TypeError,
            "features[1]: expected the dtype of features[0], float64, got float32",
        ),
        (
            [GOOD, half],
            [0.5, 1.0],
            {},
            ValueError,
            "spatial_scales: expected strictly decreasing scales, finest level first, got [0.5, 1.0]",
        ),
        (
            [GOOD, half],
            [1, 0.5],
            {"levels": np.array([0, 1])},
            ValueError,
            "levels: expected shape [3], one per row of rois, got (2,)",
        ),
        (
            [GOOD, half],
            [1, 0.5],
            {"levels": np.array([0, 1, 2])},
            ValueError,
            "levels[2]: expected 0 <= level < 2, got 2",
        ),
        (
            [GOOD, half],
            [1, 0.5],
            {"levels": np.array([0, -1, 1])},
            ValueError,
            "levels[1]: expected 0 <= level < 2, got -1",
        ),
        ([GOOD, half], [1, 0.5], {"levels": np.zeros(3)}, TypeError, "levels: expected an integer dtype, got float64"),
        (
            [GOOD, half],
            [1, 0.5],
            {"levels": [0, 1, 0]},
            TypeError,
            "levels: expected a numpy.ndarray, got builtins.list",
        ),
        (
            [GOOD, half],
            [1, 0.5],
            {"canonical_size": 0},
            ValueError,
            "canonical_size: expected a positive number, got 0",
        ),
        ([GOOD, half], [1, 0.5], {"canonical_level": "4"}, TypeError, "canonical_level: expected a number, got '4'"),
    ]
    for features, scales, more, error, text in rows:
        with pytest.raises(error, match=re.escape(text)):
            roialign.multiscale_roi_align(features, ROIS, (2, 3), scales, backend="reference", **more)
        with pytest.raises(error, match=re.escape(text)):
            roialign.multiscale_roi_align_backward(
                np.ones((3, 3, 2, 3)), features, ROIS, scales, backend="reference", **more
            )


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int8, np.uint16, np.int64]
)
@pytest.mark.parametrize("index_dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64])
def test_boxes_and_indices_of_every_dtype_are_accepted(dtype: Any, index_dtype: Any) -> None:
    boxes = np.array([[1, 1, 6, 5], [0, 2, 3, 4]])
    right = roialign.roi_align(GOOD, np.column_stack([[1, 0], boxes]).astype(np.float64), 2, backend="reference")
    indices = np.array([1, 0], dtype=index_dtype)
    answer = roialign.roi_align(GOOD, boxes.astype(dtype), 2, batch_indices=indices, backend="reference")
    np.testing.assert_array_equal(answer, right)
    image = GOOD.transpose(0, 2, 3, 1)
    crops = roialign.crop_and_resize(image, boxes.astype(dtype), indices, 2, backend="reference")
    np.testing.assert_array_equal(
        crops, roialign.crop_and_resize(image, boxes.astype(np.float64), np.array([1, 0]), 2, backend="reference")
    )
