"""On a CUDA device, by `pytest -m gpu`: more than 2^31 elements, in 20 GB of its memory at most.

All of a map but the far corner of an image is NaN, so that an address that is cut to 32 bits reads NaN; a gradient is
NaN where it is not written. What is right the core says, on a small map that is that corner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import roialign
from tests.gpu.scenes import ON_GPU, every_layout

pytestmark = ON_GPU

#: The side of the corner, and of the answer: a power of two, so that every weight is exact.
WINDOW, BINS = 24, 4
#: Images, channels and sides of a map, whose last image, last channel or last pixels lie beyond 2^31 elements.
SHAPES = {"the third image": (3, 8, 11600), "eight channels": (1, 8, 16400), "one channel": (1, 1, 46400)}
assert 2 * 8 * 11600**2 > 2**31
assert all(images * channels * (side - WINDOW) * side > 2**31 for images, channels, side in SHAPES.values())


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """Enough of it, whose contents torch fills with NaN; and none of it kept."""
    torch.cuda.empty_cache()
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GiB of free GPU memory")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.cuda.empty_cache()


def boxes(image: int, start: int) -> Tensor:
    """Within the corner that begins at `start` along both axes; multiples of 1/64, so that moving them is exact."""
    near = [[8.25, 9.5, 20.0, 21.25], [12.0, 12.0, 26.0, 27.5], [22.75, 23.25, 22.875, 23.5], [9, 8, 23, 23]]
    far = torch.tensor(near, dtype=torch.float64) + start
    return torch.nn.functional.pad(far, (1, 0), value=float(image))


def turned(rois: Tensor) -> Tensor:
    """Cut to what does not leave the corner when it is turned."""
    centre, size = (rois[:, 1:3] + rois[:, 3:]) / 2, (rois[:, 3:] - rois[:, 1:3]) / 2
    return torch.cat([rois[:, :1], centre, size, 0 * size[:, :1] + 0.5], 1)


#: By name: the operator, and its gradients to features and boxes.
OPERATORS: dict[str, tuple[Callable[..., Tensor], Callable[..., Any]]] = {
    "RoIAlign": (
        lambda f, r, **more: roialign.roi_align(f, r, BINS, 1.0, 2, **more),
        lambda g, f, r, **more: roialign.roi_align_backward(g, f, r, 1.0, 2, **more),
    ),
    "rotated": (
        lambda f, r, **more: roialign.roi_align_rotated(f, turned(r), BINS, 1.0, 2, **more),
        lambda g, f, r, **more: roialign.roi_align_rotated_backward(g, f, turned(r), 1.0, 2, **more),
    ),
    "RoIPool": (
        lambda f, r, **more: roialign.roi_pool(f, r, BINS, **more),
        lambda g, f, r, **more: (roialign.roi_pool_backward(g, f, r, **more), None),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATORS)
@every_layout
def test_more_than_2_to_the_31_elements(name: str, shape: str, channels_last: bool) -> None:
    images, channels, side = SHAPES[shape]
    corner = (images - 1, slice(None), slice(side - WINDOW, None), slice(side - WINDOW, None))
    window = torch.randn(1, channels, WINDOW, WINDOW, generator=torch.Generator().manual_seed(0)).half()
    near, far = boxes(0, 0), boxes(images - 1, side - WINDOW).cuda()
    forward, backward = OPERATORS[name]
    features = filled((images, channels, side, side), channels_last)
    features[corner] = window[0].cuda()
    answer, wide = forward(features, far), window.double()
    right = forward(wide, near, backend="cpu")
    torch.testing.assert_close(answer.cpu().double(), right, rtol=1e-3, atol=1e-3)
    gradient = torch.randn(right.shape, generator=torch.Generator().manual_seed(1)).half()
    given = torch.empty_like(answer).copy_(gradient)
    grad_features, grad_boxes = backward(given, features, far)
    right_features, right_boxes = backward(gradient.double(), wide, near, backend="cpu")
    if right_boxes is not None:
        near_enough = 1e-5 * right_boxes.abs().max().item()
        torch.testing.assert_close(grad_boxes.cpu()[:, 1:], right_boxes[:, 1:], rtol=1e-5, atol=near_enough)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert grad_features.is_contiguous(memory_format=layout)
    seen = grad_features[corner]
    torch.testing.assert_close(seen.cpu().double(), right_features[0], rtol=2e-3, atol=2e-3)
    seen.zero_()
    for image in grad_features:
        assert not any(bool(rows.any()) for rows in image.split(1024, dim=1))


def filled(shape: tuple[int, ...], channels_last: bool) -> Tensor:
    """Of NaN."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=torch.float16, device="cuda", memory_format=layout).fill_(torch.nan)


@every_layout
def test_an_answer_of_more_than_2_to_the_31_elements(channels_last: bool) -> None:
    """Of many RoIs on a small map, the last of which differs; and its gradient, read by both backward passes."""
    count, bins = 700, 28
    features = torch.ones(1, 3968, 8, 8, dtype=torch.float16, device="cuda")
    features[:, :, 4:] = 3
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)
    rois = torch.zeros(count, 5, dtype=torch.float64, device="cuda")
    rois[:, 3:] = torch.tensor([7.0, 3.0])
    rois[-1, 1:] = torch.tensor([0.5, 5.5, 7.5, 7.5])
    answer = roialign.roi_align(features, rois, bins, 1.0, 2)
    assert answer.numel() > 2**31
    assert bool((answer[-1] == 3).all())
    assert bool((answer[-2] == answer[0]).all())
    gradient = torch.zeros_like(answer)
    gradient[-1] = 1
    grad_features, grad_boxes = roialign.roi_align_backward(gradient, features, rois, 1.0, 2)
    one = roialign.roi_align_backward(gradient[-1:].contiguous(), features, rois[-1:], 1.0, 2)
    torch.testing.assert_close(grad_features, one[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(grad_boxes[-1:], one[1])
    assert not grad_boxes[:-1].any()
