"""The shortest way of a call on a pyramid gives the same bits as the general one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import roialign

RNG = np.random.default_rng(6)
SCALES = [1 / 2, 1 / 4, 1 / 16]
PYRAMID = [RNG.normal(size=(2, 5, 64 // stride, 80 // stride)) for stride in (2, 4, 16)]
#: Boxes of all levels on both images: without area, on the border between two levels, beyond the map.
ROWS = np.array(
    [
        [0, 3.0, 4.0, 9.0, 12.0],
        [1, 10.0, 10.0, 10.0, 30.0],
        [1, 0.0, 0.0, 32.0, 32.0],
        [0, -20.0, 8.0, 70.0, 90.0],
        [0, 20.0, 30.0, 36.0, 45.99],
    ]
)
ORDERED = ROWS[np.argsort(ROWS[:, 0], kind="stable")]
#: The levels of these rows differ.
OPTIONS: dict[str, Any] = {"canonical_size": 32, "canonical_level": 2}


def _pool(features: Any, rois: Any, scales: Any = SCALES, **more: Any) -> Any:
    return roialign.multiscale_roi_align(features, rois, (2, 3), scales, 2, **OPTIONS, **more)


def _per_image(rows: Any) -> list[Any]:
    return [rows[rows[:, 0] == image][:, 1:] for image in (0, 1)]


def test_all_levels_have_boxes() -> None:
    assert roialign.fpn_levels(ROWS, SCALES, **OPTIONS).tolist() == [0, 0, 1, 1, 0]
    assert _pool(PYRAMID, ROWS[2:4] * [1, 9, 9, 9, 9]).shape == (2, 5, 2, 3)
    assert set(roialign.fpn_levels(ROWS * [1, 9, 9, 9, 9], SCALES, **OPTIONS)) == {0, 1, 2}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_arrays(layout: str, dtype: Any, scale: float, mode: str, taken: list[bool]) -> None:
    features = [level.astype(dtype) for level in PYRAMID]
    if layout == "NHWC":
        features = [level.transpose(0, 2, 3, 1) for level in features]
    rows = ORDERED * [1, scale, scale, scale, scale]
    right = _pool(features, rows, layout=layout, mode=mode, backend="cpu")
    assert taken == []
    for rois in (rows, _per_image(rows)):
        answer = _pool(tuple(features), rois, layout=layout, mode=mode)
        np.testing.assert_array_equal(answer, right)
        assert answer.dtype == right.dtype
        buffer = np.empty_like(right)
        assert _pool(features, rois, layout=layout, mode=mode, out=buffer) is buffer
        np.testing.assert_array_equal(buffer, right)
    assert taken == [True] * 4


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("needed", [(0, 1, 2), (1,)])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_tensors(
    layout: str, dtype: torch.dtype, channels_last: bool, needed: tuple[int, ...], mode: str, taken: list[bool]
) -> None:
    features = [torch.from_numpy(level).to(dtype) for level in PYRAMID]
    if channels_last:
        features = [level.contiguous(memory_format=torch.channels_last) for level in features]
    if layout == "NHWC":
        features = [level.permute(0, 2, 3, 1) for level in features]
    rows = torch.from_numpy(ORDERED)
    results = []
    for rois, more in ((rows, {"backend": "cpu"}), (rows, {}), (_per_image(rows), {})):
        leaves = [level.detach().requires_grad_(index in needed) for index, level in enumerate(features)]
        answer = _pool(leaves, rois, layout=layout, mode=mode, **more)
        answer.square().sum().backward()
        without = _pool(features, rois, layout=layout, mode=mode, **more)
        assert torch.equal(without, answer)
        results.append([answer, without, *[leaves[index].grad for index in needed]])
    assert taken == [True] * 6
    for others in results[1:]:
        for given, right in zip(others, results[0], strict=True):
            assert torch.equal(given, right)
            assert given.stride() == right.stride()


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_rotated_boxes(make: Callable[[Any], Any], taken: list[bool]) -> None:
    """Their levels depend on their sides only."""
    image, x1, y1, x2, y2 = ORDERED.T
    rows = np.column_stack([image, (x1 + x2) / 2, (y1 + y2) / 2, 2 * (x2 - x1), 2 * (y2 - y1), np.arange(5.0)])
    features, rois = [make(level) for level in PYRAMID], make(rows)
    sides = np.column_stack([np.zeros((5, 2)), rows[:, 3:5]])
    assert set(roialign.fpn_levels(sides, SCALES, **OPTIONS)) == {0, 1, 2}
    arguments = features, rois, (2, 3), SCALES, 2
    right = roialign.multiscale_roi_align_rotated(*arguments, **OPTIONS, backend="cpu")
    np.testing.assert_array_equal(roialign.multiscale_roi_align_rotated(*arguments, **OPTIONS), right)
    assert taken == [True]


def test_second_derivatives() -> None:
    results = []
    for more in ({}, {"backend": "cpu"}):
        leaves = [torch.from_numpy(level).requires_grad_() for level in PYRAMID]
        answer = _pool(leaves, torch.from_numpy(ROWS), **more)
        first = torch.autograd.grad(answer.pow(3).sum(), leaves, create_graph=True)
        results.append(torch.autograd.grad(sum(part.square().sum() for part in first), leaves))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_a_pyramid_of_one_level(make: Callable[[Any], Any], taken: list[bool]) -> None:
    answer = _pool([make(PYRAMID[1])], make(ROWS), [1 / 4])
    np.testing.assert_array_equal(answer, roialign.roi_align(make(PYRAMID[1]), make(ROWS), (2, 3), 1 / 4, 2))
    assert taken == [True, True]


#: Changes of the levels, the scales and other arguments, and the error.
WRONG: dict[str, tuple[Callable[[list[Any]], list[Any]], dict[str, Any], str]] = {
    "channels": (
        lambda levels: [levels[0], levels[1][:, :4], levels[2]],
        {},
        r"features\[1\]: expected the images and",
    ),
    "images": (lambda levels: [*levels[:2], levels[2][:1]], {}, r"features\[2\]: expected the images and channels"),
    "dimensions": (lambda levels: [levels[0], levels[1][0], levels[2]], {}, r"features\[1\]: expected 4 dimensions"),
    "no pixels": (lambda levels: [*levels[:2], levels[2][:, :, :0]], {}, r"features\[2\]: expected a map of at least"),
    "scales": (
        lambda levels: levels,
        {"scales": [1 / 2, 1 / 2, 1 / 16]},
        "spatial_scales: expected strictly decreasing",
    ),
    "levels": (lambda levels: levels[:2], {}, "spatial_scales: expected one scale per level"),
}


@pytest.mark.parametrize("reason", WRONG)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_wrong_levels_take_the_general_way(reason: str, make: Callable[[Any], Any], taken: list[bool]) -> None:
    change, more, message = WRONG[reason]
    with pytest.raises(ValueError, match=message):
        _pool(change([make(level) for level in PYRAMID]), make(ROWS), **more)
    assert not any(taken)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_levels_of_other_types(make: Callable[[Any], Any], taken: list[bool]) -> None:
    mixed = [make(PYRAMID[0]), make(PYRAMID[1].astype(np.float32)), make(PYRAMID[2])]
    with pytest.raises(TypeError, match=r"features\[1\]: expected the dtype of features\[0\]"):
        _pool(mixed, make(ROWS))
    with pytest.raises(TypeError, match=r"features\[1\]"):
        _pool([make(PYRAMID[0]), PYRAMID[1].tolist(), make(PYRAMID[2])], make(ROWS))
    with pytest.raises(TypeError, match=r"features\[0\]|features"):
        _pool([PYRAMID[0].tolist(), make(PYRAMID[1]), make(PYRAMID[2])], make(ROWS))
    assert not any(taken)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_a_wrong_buffer_is_the_last_error(make: Callable[[Any], Any], taken: list[bool]) -> None:
    features, buffer = [make(level) for level in PYRAMID], make(np.empty((5, 5, 2, 3), np.float32))
    with pytest.raises(TypeError, match="out: expected dtype"):
        _pool(features, make(ROWS), out=buffer)
    with pytest.raises(TypeError, match=r"features\[1\]: expected the dtype of features\[0\]"):
        _pool([features[0], make(PYRAMID[1].astype(np.float32)), features[2]], make(ROWS), out=buffer)
    with pytest.raises(ValueError, match=r"rois: expected shape \[K, 5\]"):
        _pool(features, make(ROWS[:, :3]), out=buffer)
    with (
        pytest.raises(TypeError, match="out: expected dtype"),
        pytest.warns(roialign.RoIWarning, match="sampling_ratio: 2 is ignored"),
    ):
        _pool(features, make(ROWS), sampling="exact", out=buffer)
    assert not any(taken)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_given_levels_take_the_general_way(make: Callable[[Any], Any], taken: list[bool]) -> None:
    features, levels = [make(level) for level in PYRAMID], make(np.array([2, 1, 0, 2, 1]))
    answer = roialign.multiscale_roi_align(features, make(ROWS), (2, 3), SCALES, 2, levels=levels)
    for row, level in enumerate([2, 1, 0, 2, 1]):
        one = roialign.roi_align(features[level], make(ROWS[row : row + 1]), (2, 3), SCALES[level], 2)
        np.testing.assert_array_equal(answer[row : row + 1], one)
    assert taken == [True] * 5


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_level_that_is_not_plain(taken: list[bool]) -> None:
    levels, rows = [torch.from_numpy(level) for level in PYRAMID], torch.from_numpy(ROWS)
    right = _pool(levels, rows)
    negated = torch.complex(torch.zeros_like(levels[1]), -levels[1]).conj().imag
    assert torch.equal(_pool([levels[0], negated, levels[2]], rows), right)
    subclass = levels[2].as_subclass(torch.nn.Buffer)
    assert torch.equal(_pool([*levels[:2], subclass], rows), right)
    with torch.autocast("cpu", torch.bfloat16):
        assert _pool([levels[0].bfloat16(), levels[1], levels[2]], rows).dtype == torch.float64
    with pytest.raises((TypeError, ValueError), match=r"features\[1\]"):
        _pool([levels[0], levels[1].to("meta"), levels[2]], rows)
    freed = levels[2].clone()
    freed.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="expected a tensor with memory, got a freed one"):
        _pool([levels[0], negated, freed], rows)
    assert not any(taken[1:])
