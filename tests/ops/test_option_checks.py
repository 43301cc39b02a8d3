"""Options of every operator that are wrong, or right in an unusual form. Errors say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import roialign
from roialign.torch import modules

FEATURES = np.arange(2 * 64, dtype=np.float32).reshape(1, 2, 8, 8)
ROWS = np.array([[0, 1.0, 1.0, 6.0, 5.0]])
TURNED = np.array([[0, 3.0, 3.0, 5.0, 4.0, 0.1]])
KINDS = {"numpy": lambda array: array, "torch": torch.from_numpy}
MULTIPLE = np.ones((1, 16, 8, 8), dtype=np.float32)

#: Every operator with an output size, by name: a call with a given size, and with more arguments.
SIZED: dict[str, Callable[..., Any]] = {
    "roi_align": lambda k, size, **more: roialign.roi_align(k(FEATURES), k(ROWS), size, **more),
    "roi_pool": lambda k, size, **more: roialign.roi_pool(k(FEATURES), k(ROWS), size, **more),
    "prroi_pool": lambda k, size, **more: roialign.prroi_pool(k(FEATURES), k(ROWS), size, **more),
    "ps_roi_align": lambda k, size, **more: roialign.ps_roi_align(k(FEATURES[:, :0]), k(ROWS), size, **more),
    "ps_roi_pool": lambda k, size, **more: roialign.ps_roi_pool(k(FEATURES[:, :0]), k(ROWS), size, **more),
    "deform_roi_pool": lambda k, size, **more: roialign.deform_roi_pool(k(FEATURES), k(ROWS), None, size, **more),
    "roi_align_rotated": lambda k, size, **more: roialign.roi_align_rotated(k(FEATURES), k(TURNED), size, **more),
    "riroi_align_rotated": lambda k, size, **more: roialign.riroi_align_rotated(k(MULTIPLE), k(TURNED), size, **more),
    "multiscale_roi_align": lambda k, size, **more: roialign.multiscale_roi_align(
        [k(FEATURES)], k(ROWS), size, [1.0], **more
    ),
    "multiscale_roi_align_rotated": lambda k, size, **more: roialign.multiscale_roi_align_rotated(
        [k(FEATURES)], k(TURNED), size, [1.0], **more
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
operators = pytest.mark.parametrize("operator", SIZED.values(), ids=SIZED)


def _error(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert text in str(raised.value)


@kinds
@operators
@pytest.mark.parametrize("size", [np.array([3, 2]), torch.tensor([3, 2]), torch.Size([3, 2]), np.array([3, 2], "u1")])
def test_an_output_size_can_be_an_array(kind: Any, operator: Callable[..., Any], size: Any) -> None:
    assert operator(kind, size).shape[2:] == (3, 2)


@operators
@pytest.mark.parametrize(
    ("size", "error", "text"),
    [
        (np.array([3.0, 2.0]), TypeError, "output_size: expected an int or a pair of ints (y, x), got array([3., 2.])"),
        (np.array([3, 2, 1]), ValueError, "output_size: expected an int or a pair (y, x), got array([3, 2, 1])"),
        (np.array([[3, 2]]), TypeError, "output_size: expected"),
        (torch.tensor([3, 0]), ValueError, "output_size: expected at least 1, got tensor([3, 0])"),
        ((2**30, 2**30), ValueError, "output_size: expected at most 2**40 bins in all, got (1073741824, 1073741824)"),
    ],
)
@kinds
def test_output_sizes(kind: Any, operator: Callable[..., Any], size: Any, error: type[Exception], text: str) -> None:
    _error(lambda: operator(kind, size), error, text)


@kinds
def test_a_result_that_no_memory_can_hold(kind: Any) -> None:
    _error(lambda: roialign.roi_align(kind(FEATURES), kind(ROWS), 2**20), MemoryError, "unable to allocate")


@kinds
@pytest.mark.parametrize("ratio", [np.array([2, 1]), torch.tensor([2, 1])])
def test_a_sampling_ratio_can_be_an_array(kind: Any, ratio: Any) -> None:
    found = SIZED["roi_align"](kind, 2, sampling_ratio=ratio)
    np.testing.assert_array_equal(found, SIZED["roi_align"](kind, 2, sampling_ratio=(2, 1)))


@pytest.mark.parametrize("scales", [np.array([1.0, 0.5]), torch.tensor([1.0, 0.5]), (1, np.float32(0.5))])
@kinds
def test_scales_can_be_an_array(kind: Any, scales: Any) -> None:
    pyramid = [kind(FEATURES), kind(FEATURES[:, :, ::2, ::2].copy())]
    found = roialign.multiscale_roi_align(pyramid, kind(ROWS), 2, scales)
    np.testing.assert_array_equal(found, roialign.multiscale_roi_align(pyramid, kind(ROWS), 2, [1.0, 0.5]))


def test_a_scale_has_no_gradient() -> None:
    scale = torch.tensor([1.0], requires_grad=True)
    _error(lambda: SIZED["roi_align"](torch.from_numpy, 2, spatial_scale=scale[0]), ValueError, "spatial_scale: expec")
    _error(
        lambda: roialign.multiscale_roi_align([torch.from_numpy(FEATURES)], torch.from_numpy(ROWS), 2, scale),
        ValueError,
        "spatial_scales: expected a number, got a tensor that requires a gradient",
    )
    assert SIZED["roi_align"](torch.from_numpy, 2, spatial_scale=scale[0].detach()).shape == (1, 2, 2, 2)
    with torch.no_grad():
        assert SIZED["roi_align"](torch.from_numpy, 2, spatial_scale=scale[0]).shape == (1, 2, 2, 2)


@pytest.mark.parametrize("value", [np.array(False), torch.tensor(False), np.False_])
@kinds
def test_a_bool_can_be_an_array(kind: Any, value: Any) -> None:
    found = SIZED["roi_align"](kind, 2, aligned=value)
    np.testing.assert_array_equal(found, SIZED["roi_align"](kind, 2, aligned=False))


def test_a_bool_can_depend_on_a_traced_size() -> None:
    class Aligned(torch.nn.Module):
        def forward(self, features: torch.Tensor, rois: torch.Tensor) -> Any:
            return roialign.roi_align(features, rois, 2, aligned=features.shape[2] > 4)

    given = torch.from_numpy(FEATURES), torch.from_numpy(ROWS)
    dynamic = {"features": {2: torch.export.Dim("height", min=5)}, "rois": None}
    program = torch.export.export(Aligned(), given, dynamic_shapes=dynamic, strict=False)
    torch.testing.assert_close(program.module()(*given), Aligned()(*given), rtol=0, atol=0)


@kinds
@pytest.mark.parametrize("value", ["no", None, 2, 1, np.array([True])])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("aligned", "roi_align"),
        ("aligned", "multiscale_roi_align"),
        ("aligned", "roi_align_rotated"),
        ("aligned", "multiscale_roi_align_rotated"),
        ("clockwise", "roi_align_rotated"),
        ("clockwise", "multiscale_roi_align_rotated"),
        ("clockwise", "riroi_align_rotated"),
    ],
)
def test_booleans(kind: Any, name: str, call: str, value: Any) -> None:
    _error(lambda: SIZED[call](kind, 2, **{name: value}), TypeError, f"{name}: expected True or False, got {value!r}")
    found, expected = (SIZED[call](kind, 2, **{name: flag}) for flag in (np.True_, True))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["paired", "clockwise"])
def test_booleans_of_overlaps(name: str) -> None:
    boxes = TURNED[:, 1:]
    text = f"{name}: expected True or False, got 1"
    _error(lambda: roialign.rotated_iou(boxes, boxes, **{name: 1}), TypeError, text)
    _error(
        lambda: roialign.rotated_iou_backward(np.ones((1, 1)), boxes, boxes, **{name: 1}),
        TypeError,
        text,
    )
    _error(lambda: roialign.rotated_nms(boxes, np.ones(1), 0.5, clockwise=1), TypeError, "clockwise: expected")


@pytest.mark.parametrize("need", [None, 1])
def test_need(need: Any) -> None:
    text = f"need: expected one or several of 'features', 'rois', got {need}"
    _error(lambda: roialign.roi_align_backward(FEATURES, FEATURES, ROWS, need=need), TypeError, text)


@kinds
def test_an_empty_pyramid(kind: Any) -> None:
    text = "features: expected a list of arrays, one per level, got an empty one"
    _error(lambda: roialign.multiscale_roi_align([], kind(ROWS), 2, [1.0]), ValueError, text)


def test_the_maximum_sets_the_limit_of_points() -> None:
    text = "sampling_ratio: expected at most 256 with mode='max', got 257"
    _error(lambda: SIZED["roi_align"](np.asarray, 2, sampling_ratio=257, mode="max"), ValueError, text)


def test_byte_order() -> None:
    swapped = FEATURES.astype(">f4")
    _error(lambda: roialign.roi_align(swapped, ROWS, 2), TypeError, "features: expected the native byte order, got >f4")
    converted = swapped.astype(swapped.dtype.newbyteorder("="))  # as the message says
    np.testing.assert_array_equal(roialign.roi_align(converted, ROWS, 2), roialign.roi_align(FEATURES, ROWS, 2))


@operators
def test_masked_arrays(operator: Callable[..., Any]) -> None:
    def masked(array: Any) -> Any:
        return np.ma.masked_array(array, array > 2)

    _error(lambda: operator(masked, 2), TypeError, "expected a numpy.ndarray, got a masked array")


def test_masked_coordinates() -> None:
    x = np.ma.masked_array([1.0, 2.0], [True, False])
    _error(
        lambda: roialign.bilinear_interpolate(FEATURES, x, x), TypeError, "x: expected a numpy.ndarray, got a masked"
    )


@operators
@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_tensors_that_are_not_dense(operator: Callable[..., Any]) -> None:
    def masked(array: Any) -> Any:
        return torch.masked.masked_tensor(torch.from_numpy(array), torch.ones(array.shape, dtype=torch.bool))

    _error(lambda: operator(masked, 2), TypeError, "expected a dense tensor, got a masked one")


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@operators
def test_nested_tensors(operator: Callable[..., Any], layout: torch.layout) -> None:
    def nested(array: Any) -> Any:
        return torch.nested.nested_tensor([torch.from_numpy(array[0])] * 2, layout=layout)

    _error(lambda: operator(nested, 2), TypeError, "expected a dense tensor, got a nested one")


@pytest.mark.parametrize("function", [SIZED["roi_align"], SIZED["roi_pool"]], ids=["separable", "pointwise"])
def test_vmap_over_no_members(function: Callable[..., Any]) -> None:
    def total(features: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return function(lambda array: features if array.ndim == 4 else rois, 2)

    features, rois = torch.ones(0, 1, 2, 8, 8), torch.ones(0, 3, 5)
    one = torch.from_numpy(ROWS).float()
    assert torch.vmap(total, (0, None))(features, one).shape == (0, 1, 2, 2, 2)
    assert torch.vmap(total)(features, rois).shape == (0, 3, 2, 2, 2)
    gradients = torch.func.grad(lambda *both: total(*both).sum(), argnums=(0, 1))
    assert [part.shape for part in torch.vmap(gradients)(features, rois)] == [features.shape, rois.shape]


def test_vmap_of_overlaps_over_no_members() -> None:
    boxes = torch.ones(0, 3, 5)
    assert torch.vmap(roialign.rotated_iou)(boxes, boxes).shape == (0, 3, 3)
    gradients = torch.vmap(torch.func.grad(lambda both: roialign.rotated_iou(both, both).sum()))(boxes)
    assert gradients.shape == boxes.shape


@pytest.mark.parametrize("name", ["roi_align", "roi_pool"])
def test_out_within_vmap(name: str) -> None:
    def call(features: torch.Tensor) -> Any:
        out = torch.empty(1, 2, 2, 2)
        return SIZED[name](lambda array: features if array.ndim == 4 else torch.from_numpy(array), 2, out=out)

    _error(lambda: torch.vmap(call)(torch.ones(3, 1, 2, 8, 8)), ValueError, "out: expected None within torch.vmap")


@pytest.mark.parametrize(
    ("x", "text"),
    [
        ("a", "x: expected real coordinates"),
        (None, "x: expected real coordinates"),
        ([[1.0, 2.0], [3.0]], "x: expected real coordinates, as an array or as numbers, got [[1.0, 2.0], [3.0]]"),
        ([1.0, None], "x: expected real coordinates"),
        (10**400, "x: expected real coordinates"),
    ],
)
@kinds
def test_points_that_are_no_numbers(kind: Any, x: Any, text: str) -> None:
    _error(lambda: roialign.bilinear_interpolate(kind(FEATURES), x, 0.0), TypeError, text)


def test_points_of_another_framework() -> None:
    array, tensor = np.ones(2), torch.ones(2, requires_grad=True)
    features = torch.from_numpy(FEATURES)
    of_array, of_tensor = "expected a numpy.ndarray, like the other arguments", "expected a torch.Tensor, like features"
    interpolate: Any = roialign.bilinear_interpolate
    _error(lambda: interpolate(FEATURES, tensor, 0.0), TypeError, f"x: {of_array}, got torch.Tensor")
    _error(lambda: interpolate(FEATURES, 0.0, tensor.detach()), TypeError, f"y: {of_array}, got torch.Tensor")
    _error(lambda: interpolate(features, 0.0, array), TypeError, f"y: {of_tensor}, got numpy.ndarray")
    numbers = list(tensor.unbind())
    _error(lambda: interpolate(FEATURES, numbers, 0.0), TypeError, "x: expected real coordinates")
    _error(lambda: interpolate(features, numbers, 0.0), TypeError, "which it would not get; use torch.stack(x)")


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        ([1.0, np.nan], [1.0, 2.0], "x[1]: expected a finite coordinate, got nan"),
        (1.0, [[1.0], [np.inf]], "y[1, 0]: expected a finite coordinate, got inf"),
    ],
)
@kinds
def test_points_that_are_not_finite(kind: Any, x: Any, y: Any, text: str) -> None:
    arrays = (kind(np.asarray(value)) for value in (x, y))
    _error(lambda: roialign.bilinear_interpolate(kind(FEATURES), *arrays), ValueError, text)


@kinds
def test_errors_about_batch_indices_name_them(kind: Any) -> None:
    boxes, indices = kind(ROWS[:, 1:]), kind(np.array([3]))
    text = "batch_indices[0]: expected an integer batch index 0 <= index < 1, got 3"
    _error(lambda: roialign.roi_align(kind(FEATURES), boxes, 2, batch_indices=indices), ValueError, text)
    _error(lambda: roialign.roi_pool(kind(FEATURES), boxes, 2, batch_indices=indices), ValueError, text)
    text = "box_indices[0]: expected an integer batch index 0 <= index < 1, got 3"
    _error(lambda: roialign.crop_and_resize(kind(FEATURES), boxes, indices, 2), ValueError, text)
    infinite = kind(np.where(ROWS[:, 1:] == 6, np.inf, ROWS[:, 1:]))
    zero = kind(np.array([0]))
    _error(
        lambda: roialign.roi_align(kind(FEATURES), infinite, 2, batch_indices=zero), ValueError, "rois[0]: expected fin"
    )


def test_large_indices_are_not_rounded() -> None:
    indices = np.array([2**64 - 1], dtype=np.uint64)
    text = "batch_indices[0]: expected an integer batch index 0 <= index < 1, got 18446744073709551615"
    _error(lambda: roialign.roi_align(FEATURES, ROWS[:, 1:], 2, batch_indices=indices), ValueError, text)


@pytest.mark.parametrize("name", modules.__all__)
def test_unexpected_arguments_of_modules(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}.__init__\(\) got an unexpected keyword argument 'foo'"):
        getattr(modules, name)(7, [1.0], foo=1)
