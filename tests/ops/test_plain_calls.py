"""The shortest way of a call gives the same bits as the general one, and is taken only by calls that need no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import roialign
from roialign import _core
from roialign._core_specs import core_levels, core_separable
from roialign.ops.roi_align import roi_align_spec
from tests.ops.operators import MAP, OPERATORS, ROWS


def _rows_of(name: str) -> Any:
    """The rows, or those of rotated boxes."""
    if "rotated" not in name and name != "orientations":
        return ROWS
    image, x1, y1, x2, y2 = ROWS.T
    return np.column_stack([image, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, np.arange(4)])


def _strided(array: Any) -> Any:
    """The same values with every second element of a larger array, in reversed order of images."""
    large = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    large[::-1, ..., ::2] = array
    return large[::-1, ..., ::2]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("form", [np.ascontiguousarray, _strided, np.asfortranarray])
def test_arrays(name: str, layout: str, dtype: Any, form: Callable[[Any], Any], taken: list[bool]) -> None:
    features = MAP.astype(dtype) if layout == "NCHW" else MAP.astype(dtype).transpose(0, 2, 3, 1)
    for rows in (form(_rows_of(name)), form(_rows_of(name).astype(np.float32))):
        answer = OPERATORS[name](form(features), rows, layout=layout)
        assert taken == [True]
        right = OPERATORS[name](form(features), rows, layout=layout, backend="cpu")
        assert taken == [True]
        assert answer.dtype == right.dtype
        assert answer.flags.c_contiguous
        np.testing.assert_array_equal(answer, right)
        buffer = form(np.empty_like(right))
        assert OPERATORS[name](form(features), rows, layout=layout, out=buffer) is buffer
        np.testing.assert_array_equal(buffer, right)
        assert taken == [True, True]
        taken.clear()


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_tensors(name: str, layout: str, dtype: torch.dtype, channels_last: bool, taken: list[bool]) -> None:
    features = torch.from_numpy(MAP).to(dtype)
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)
    if layout == "NHWC":
        features = features.permute(0, 2, 3, 1)
    rows = torch.from_numpy(_rows_of(name)).float()
    results = []
    for more in ({}, {"backend": "cpu"}):
        leaf = features.detach().requires_grad_()
        answer = OPERATORS[name](leaf, rows, layout=layout, **more)
        answer.square().sum().backward()
        without = OPERATORS[name](features, rows, layout=layout, **more)
        assert torch.equal(without, answer)
        assert without.stride() == answer.stride()
        results.append((answer, leaf.grad))
    assert taken == [True] * 3
    buffer = torch.empty_like(without)
    assert OPERATORS[name](features, rows, layout=layout, out=buffer) is buffer
    assert torch.equal(buffer, without)
    assert taken == [True] * (4 if layout == "NCHW" else 3)
    (answer, gradient), (right, right_gradient) = results
    assert torch.equal(answer, right)
    assert answer.stride() == right.stride()
    assert torch.equal(gradient, right_gradient)
    assert gradient.stride() == right_gradient.stride()


def test_threads_for_what_a_gradient_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of a small map takes long if there are many RoIs."""
    from roialign.torch.cpu import plain

    asked: list[int] = []
    *first, team_for, small = plain._TORCH
    spy = *first, lambda elements: asked.append(elements) or team_for(elements), small
    leaf = torch.from_numpy(MAP).requires_grad_()
    answer = roialign.roi_align(leaf, torch.from_numpy(ROWS).repeat(100, 1), 3)
    assert leaf.numel() < small < answer.numel()
    monkeypatch.setattr(plain, "_TORCH", spy)
    answer.sum().backward()
    assert asked == [leaf.numel() + answer.numel()]


@pytest.mark.parametrize("name", OPERATORS)
def test_second_derivatives(name: str) -> None:
    results = []
    for more in ({}, {"backend": "cpu"}):
        leaf = torch.from_numpy(MAP).requires_grad_()
        answer = OPERATORS[name](leaf, torch.from_numpy(_rows_of(name)), **more)
        (first,) = torch.autograd.grad(answer.pow(3).sum(), leaf, create_graph=True)
        results += torch.autograd.grad(first.square().sum(), leaf)
    assert torch.equal(*results)


def _per_image(rows: Any) -> list[Any]:
    """The boxes of both images, and the places of their rows."""
    return [rows[rows[:, 0] == image][:, 1:] for image in (0, 1)]


#: The rows in the order in which a list has them.
ORDERED = ROWS[np.argsort(ROWS[:, 0], kind="stable")]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_lists(name: str, layout: str, make: Callable[[Any], Any], taken: list[bool]) -> None:
    features, rows = make(MAP if layout == "NCHW" else MAP.transpose(0, 2, 3, 1)), _rows_of(name)
    ordered = make(rows[np.argsort(rows[:, 0], kind="stable")])
    right = OPERATORS[name](features, ordered, layout=layout, backend="cpu")
    for boxes in (_per_image(make(rows)), tuple(_per_image(make(rows.astype(np.float32))))):
        np.testing.assert_array_equal(OPERATORS[name](features, boxes, layout=layout), right)
        assert taken == [True]
        buffer = make(np.empty_like(right))
        assert OPERATORS[name](features, boxes, layout=layout, out=buffer) is buffer
        np.testing.assert_array_equal(buffer, right)
        taken.clear()


@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_with_lists(name: str, taken: list[bool]) -> None:
    derivatives, rows = [], torch.from_numpy(_rows_of(name))
    for rois in (rows[rows[:, 0].argsort(stable=True)], _per_image(rows)):
        leaf = torch.from_numpy(MAP).requires_grad_()
        answer = OPERATORS[name](leaf, rois)
        (gradient,) = torch.autograd.grad(answer.square().sum(), leaf, retain_graph=True)
        (first,) = torch.autograd.grad(answer.pow(3).sum(), leaf, create_graph=True)
        derivatives.append([answer, gradient, *torch.autograd.grad(first.square().sum(), leaf)])
    assert all(map(torch.equal, *derivatives))
    assert taken == [True] * 6


def test_gradients_of_the_boxes_of_a_list(taken: list[bool]) -> None:
    boxes = [part.requires_grad_() for part in _per_image(torch.from_numpy(ROWS))]
    roialign.roi_align(torch.from_numpy(MAP), boxes, 2).sum().backward()
    assert all(part.grad is not None for part in boxes)
    assert not any(taken)


def test_a_map_that_decides_maxima_must_not_change_before_the_backward_pass(taken: list[bool]) -> None:
    leaf = torch.from_numpy(MAP).requires_grad_()
    features = leaf * 1
    answer = roialign.roi_pool(features, torch.from_numpy(ROWS), 2)
    assert taken == [True]
    with torch.no_grad():
        features.mul_(-1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        answer.sum().backward()


def test_boxes_of_a_list_may_change_before_the_backward_pass(taken: list[bool]) -> None:
    """As with torchvision, and boxes that were made in inference mode."""
    gradients = []
    for change in (False, True):
        with torch.inference_mode(change):
            boxes = [part.clone() for part in _per_image(torch.from_numpy(ROWS))]
        leaf = torch.from_numpy(MAP).requires_grad_()
        answer = roialign.roi_align(leaf, boxes, 2)
        if change:
            with torch.inference_mode():
                boxes[0].mul_(2)
        answer.square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
    assert taken == [True] * 4


@pytest.mark.parametrize("data", [torch.zeros_like(torch.from_numpy(MAP)), torch.zeros(2, 5, 1, 1), torch.zeros(1)])
def test_a_map_whose_memory_is_exchanged_decides_as_before(data: torch.Tensor, taken: list[bool]) -> None:
    gradients = []
    for change in (False, True):
        leaf = torch.from_numpy(MAP).requires_grad_()
        features = leaf * 1
        answer = roialign.roi_pool(features, torch.from_numpy(ROWS), 2)
        if change:
            features.data = data
        answer.sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
    assert taken == [True] * 4


@pytest.mark.parametrize("shape", [(3, 5, 2, 2), (5, 5, 2, 2), (4, 6, 2, 2), (4, 5, 0, 2), (4, 5, 2)])
def test_the_core_refuses_an_output_of_another_shape(shape: tuple[int, ...]) -> None:
    def is_accepted(out: Any) -> bool:
        spec, levels = core_separable(roi_align_spec(0, True, "avg", "grid")), core_levels((1.0,), None)
        return _core.plain_forward(spec, (MAP,), ROWS, levels, False, out)

    assert not is_accepted(np.zeros(shape))
    assert not is_accepted(np.zeros((4, 5, 2, 2), np.float32))
    assert not is_accepted(np.zeros((4, 5, 2, 2), np.int64))
    assert is_accepted(np.zeros((4, 5, 2, 2)))


def test_a_wrong_list_is_the_first_error() -> None:
    with pytest.raises(ValueError, match="rois: expected one array of boxes per image"):
        roialign.roi_align(MAP, _per_image(ROWS)[:1], 2, out=np.empty((4, 5, 2, 2)))


BAD_LISTS: dict[str, tuple[Callable[[list[Any]], list[Any]], str]] = {
    "one image": (lambda boxes: boxes[:1], r"rois: expected one \w+ of boxes per image \(2\), got 1"),
    "three images": (lambda boxes: [*boxes, boxes[0][:0]], r"rois: expected one \w+ of boxes per image \(2\), got 3"),
    "rows": (lambda boxes: [boxes[0], boxes[1][:, [0, 0, 1, 2, 3]]], r"rois\[1\]: expected shape \[K, 4\]"),
    "one box": (lambda boxes: [boxes[0], boxes[1][0]], r"rois\[1\]: expected shape \[K, 4\]"),
    "not a number": (lambda boxes: [boxes[0], boxes[1] * np.nan], r"rois\[1\]\[0\]: expected finite coordinates"),
}


@pytest.mark.parametrize("reason", BAD_LISTS)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_a_bad_list_takes_the_general_way(reason: str, make: Callable[[Any], Any], taken: list[bool]) -> None:
    change, message = BAD_LISTS[reason]
    features = make(MAP)
    for leaf in [features, features.clone().requires_grad_()] if isinstance(features, torch.Tensor) else [features]:
        with pytest.raises(ValueError, match=message):
            roialign.roi_align(leaf, change(_per_image(make(ROWS))), 2)
    assert not any(taken)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_lists_with_images_without_boxes(make: Callable[[Any], Any], taken: list[bool]) -> None:
    features, (first, second) = make(MAP), _per_image(make(ROWS))
    right = roialign.roi_align(features, make(ROWS[ROWS[:, 0] == 1]), 2)
    np.testing.assert_array_equal(roialign.roi_align(features, [first[:0], second], 2), right)
    assert taken == [True, True]
    assert roialign.roi_align(features, [first[:0], second[:0]], 2).shape == (0, 5, 2, 2)
    assert roialign.roi_align(features, [], 2).shape == (0, 5, 2, 2)
    assert not any(taken[2:])


BAD_ROWS = {
    "image too large": [2, 1.0, 1.0, 2.0, 2.0],
    "image negative": [-1, 1.0, 1.0, 2.0, 2.0],
    "image between two": [0.5, 1.0, 1.0, 2.0, 2.0],
    "image not a number": [np.nan, 1.0, 1.0, 2.0, 2.0],
    "not a number": [0, np.nan, 1.0, 2.0, 2.0],
    "infinite": [0, 1.0, 1.0, np.inf, 2.0],
    "too large": [0, 1.0, 1.0, 2.0, 2e100],
}


@pytest.mark.parametrize("reason", BAD_ROWS)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_a_bad_row_takes_the_general_way(reason: str, make: Callable[[Any], Any], taken: list[bool]) -> None:
    rows = make(np.array([ROWS[0], BAD_ROWS[reason]]))
    with pytest.raises(ValueError, match=r"rois\[1\]: expected"):
        roialign.roi_align(make(MAP), rows, 2)
    assert taken == [False]


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_what_takes_the_general_way(make: Callable[[Any], Any], taken: list[bool]) -> None:
    features, rows = make(MAP), make(ROWS)
    inverted, beside = make(ROWS[:, [0, 3, 4, 1, 2]]), make(np.add(ROWS, [0, 1e3, 1e3, 1e3, 1e3]))
    for suspicious in (inverted, beside):
        with pytest.warns(roialign.RoIWarning):
            roialign.roi_align(features, suspicious, 2)
    with pytest.warns(roialign.RoIWarning, match="sampling_ratio: 2 is ignored"):
        roialign.roi_align(features, rows, 2, 1.0, 2, sampling="exact")
    assert roialign.roi_align(features, rows, 2, sampling="random", seed=1).shape == (4, 5, 2, 2)
    assert roialign.roi_align(features, rows[:0], 2).shape == (0, 5, 2, 2)
    assert roialign.roi_align(features[:, :0], rows, 2).shape == (4, 0, 2, 2)
    assert roialign.roi_align(features, make(ROWS.astype(np.int64)), 2).shape == (4, 5, 2, 2)
    assert not any(taken)


def test_arrays_that_need_a_copy(taken: list[bool]) -> None:
    """Swapped bytes are an error; a field of a record, of odd size, is copied by the general way."""
    record = np.zeros(ROWS.shape[0], dtype=[("odd", np.int8), ("row", np.float64, 5)])
    record["row"] = ROWS
    np.testing.assert_array_equal(roialign.roi_align(MAP, record["row"], 2), roialign.roi_align(MAP, ROWS, 2))
    assert taken == [False, True]
    with pytest.raises(TypeError, match="features: expected the native byte order"):
        roialign.roi_align(MAP.astype(">f4"), ROWS, 2)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("rows", [np.zeros(()), np.zeros(5), np.zeros((1, 4)), np.zeros((1, 6)), np.zeros((1, 5, 1))])
def test_rows_of_another_shape(make: Callable[[Any], Any], rows: Any) -> None:
    with pytest.raises(ValueError, match=r"rois: expected shape \[K, 5\]"):
        roialign.roi_align(make(MAP), make(rows), 2)


def test_the_features_are_checked_before_the_buffer() -> None:
    with pytest.raises(TypeError, match="features: expected dtype"):
        roialign.roi_align(MAP.astype(np.int64), ROWS, 2, out=np.zeros((4, 5, 2, 2)))


TENSORS_THAT_ARE_NOT_PLAIN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "negated": lambda tensor: torch.complex(torch.zeros_like(tensor), -tensor).conj().imag,
    "zero": lambda tensor: torch._efficientzerotensor(tensor.shape, dtype=tensor.dtype),
    "sparse": lambda tensor: tensor.to_sparse(),
    "nested": lambda tensor: torch.nested.as_nested_tensor([tensor, tensor], layout=torch.strided),
    "meta": lambda tensor: tensor.to("meta"),
    "subclass": lambda tensor: tensor.as_subclass(torch.nn.Buffer),
    "freed": lambda tensor: _freed(tensor.clone()),
}


def _freed(tensor: torch.Tensor) -> torch.Tensor:
    tensor.untyped_storage().resize_(0)
    return tensor


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("kind", TENSORS_THAT_ARE_NOT_PLAIN)
@pytest.mark.parametrize("place", [0, 1])
def test_tensors_that_are_not_plain(kind: str, place: int, taken: list[bool]) -> None:
    """The general way gives the result or the error, as without the core's own reading of tensors."""
    arguments = [torch.from_numpy(MAP), torch.from_numpy(ROWS)]
    arguments[place] = TENSORS_THAT_ARE_NOT_PLAIN[kind](arguments[place])
    results: list[object] = []
    for more in ({}, {"backend": "cpu"}):
        try:
            results.append(roialign.roi_align(*arguments, 2, **more).tolist())
        except (TypeError, ValueError, NotImplementedError) as error:
            results.append(str(error))
    assert isinstance(results[0], list) == (kind in ("negated", "zero", "subclass"))
    assert results[0] == results[1]
    assert not any(taken)


def test_gradients_that_are_not_plain(taken: list[bool]) -> None:
    leaf = torch.from_numpy(MAP).requires_grad_()
    answer = roialign.roi_align(leaf, torch.from_numpy(ROWS), 2)
    ones = torch.ones_like(answer)
    (right,) = torch.autograd.grad(answer, leaf, ones, retain_graph=True)
    assert taken == [True, True]
    (gradient,) = torch.autograd.grad(answer, leaf, TENSORS_THAT_ARE_NOT_PLAIN["negated"](ones), retain_graph=True)
    assert torch.equal(gradient, right)
    (zero,) = torch.autograd.grad(answer, leaf, torch._efficientzerotensor(ones.shape, dtype=ones.dtype))
    assert torch.equal(zero, torch.zeros_like(right))
    assert not any(taken[2:])


def test_a_torch_without_functions_of_dlpack(taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    from roialign.torch.cpu import plain

    features, rows = torch.from_numpy(MAP), torch.from_numpy(ROWS)
    right = roialign.roi_align(features, rows, 2)
    monkeypatch.setattr(plain, "_EXCHANGE", None)
    assert torch.equal(roialign.roi_align(features, rows, 2), right)
    assert taken == [True]
