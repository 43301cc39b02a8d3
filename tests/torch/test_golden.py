"""What other systems answered (tests/golden), through torch: answers and gradients; and where they go wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import roialign
from tests.reference.test_golden import each, recorded
from tests.tables.tolerances import assert_close


def tensors(arrays: dict[str, Any], *names: str) -> list[Tensor]:
    return [torch.from_numpy(arrays[name].copy()) for name in names]


@each("torchvision_roi_align")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_roi_align(case: str, layout: torch.memory_format) -> None:
    arrays = recorded("torchvision_roi_align")[case]
    params = arrays["params"]
    features, rois, grad_output = tensors(arrays, "features", "rois", "grad_output")
    features = features.contiguous(memory_format=layout).requires_grad_()
    common = (tuple(params["output_size"]), params["spatial_scale"], params["sampling_ratio"])
    output = roialign.roi_align(features, rois, *common, aligned=params["aligned"])
    assert_close(
        output.detach().numpy(), arrays["output"], "float64", float(np.abs(arrays["features"]).max()), "output"
    )
    (gradient,) = torch.autograd.grad(output, features, grad_output)
    magnitude = roialign.roi_align(features, rois, *common, aligned=params["aligned"])
    (scale,) = torch.autograd.grad(magnitude, features, grad_output.abs())
    assert_close(gradient.numpy(), arrays["grad_features"], "float64", scale.numpy(), "grad_features")


@each("torchvision_multiscale_roi_align")
def test_multiscale_roi_align(case: str) -> None:
    arrays = recorded("torchvision_multiscale_roi_align")[case]
    params = arrays["params"]
    levels = tensors(arrays, "p2", "p3", "p4", "p5")
    output = roialign.multiscale_roi_align(
        levels,
        list(torch.from_numpy(arrays["boxes"])),
        tuple(params["output_size"]),
        params["scales"],
        params["sampling_ratio"],
        canonical_size=params["canonical_scale"],
        canonical_level=params["canonical_level"],
        aligned=params["aligned"],
    )
    assert_close(output.numpy(), arrays["output"], "float64", max(float(level.abs().max()) for level in levels))


@each("tensorflow_crop_and_resize")
def test_crop_and_resize(case: str) -> None:
    arrays = recorded("tensorflow_crop_and_resize")[case]
    params = arrays["params"]
    image, boxes, indices, gradient = tensors(arrays, "image", "boxes", "box_indices", "grad_output")
    leaves = image.requires_grad_(), boxes.requires_grad_()
    fill = params["extrapolation_value"]
    output = roialign.crop_and_resize(image, boxes, indices, tuple(params["crop_size"]), params["method"], fill)
    largest = max(float(image.detach().abs().max()), abs(fill))
    assert_close(output.detach().numpy(), arrays["output"].astype(np.float64), "peer float32", largest, "output")
    for seen, name in zip(torch.autograd.grad(output, leaves, gradient), ("grad_image", "grad_boxes"), strict=True):
        if name not in arrays:  # of a nearest pixel, which does not move
            assert not seen.any()
            continue
        right = arrays[name].astype(np.float64)
        assert_close(seen.numpy(), right, "peer float32", float(np.abs(right).max()), name)


# Where other systems are known to go wrong


def test_levels_come_from_the_scales_that_are_given() -> None:
    """Not powers of two guessed from the height: stride 14 is stride 14."""
    ramp = torch.arange(36.0).expand(1, 1, 36, 36)
    box = torch.tensor([[0, 56.0, 56.0, 112.0, 112.0]])
    maps = [ramp, torch.full((1, 1, 18, 18), 2.0)]
    answer = roialign.multiscale_roi_align(maps, box, 1, [1 / 14, 1 / 28], 2, aligned=False)
    torch.testing.assert_close(answer.flatten(), torch.tensor([6.0]))
    assert roialign.fpn_levels(torch.tensor([[0, 0, 223.99995, 223.99995]]), [1 / 8, 1 / 16]).tolist() == [1]


def test_rows_keep_their_order_whatever_their_images_and_levels() -> None:
    maps = [torch.stack([torch.full((1, 8, 8), 10.0 * level + image) for image in range(2)]) for level in range(3)]
    images, levels = torch.tensor([1, 0, 1, 0, 1, 0]), torch.tensor([2, 0, 1, 2, 0, 1])
    boxes = torch.tensor([[0.0, 0, 3, 3]]).expand(6, 4)
    answer = roialign.multiscale_roi_align(maps, boxes, (2, 5), [1, 0.5, 0.25], levels=levels, batch_indices=images)
    assert answer.shape == (6, 1, 2, 5)
    torch.testing.assert_close(answer[:, 0, 1, 4], (10.0 * levels + images), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_images_beyond_2048_in_half_precision(dtype: torch.dtype) -> None:
    features = torch.arange(2055.0).reshape(-1, 1, 1, 1)
    boxes, images = torch.zeros(2, 4, dtype=dtype), torch.tensor([2049, 2053])
    assert roialign.roi_align(features, boxes, 1, 1.0, 1, batch_indices=images).flatten().tolist() == [2049, 2053]
    per_image = [boxes[:1] if image in (2049, 2053) else boxes[:0] for image in range(2055)]
    assert roialign.roi_align(features, per_image, 1, 1.0, 1).flatten().tolist() == [2049, 2053]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_no_number_crashes(value: float) -> None:
    features = torch.rand(1, 2, 5, 5)
    for column in range(5):
        rois = torch.tensor([[0, 1, 1, 3, 3]], dtype=torch.float64)
        rois[0, column] = value
        with pytest.raises(ValueError, match=r"rois\[0\]: expected"):
            roialign.roi_align(features, rois, 2)


def test_every_derivative_is_there() -> None:
    """None, zero or an exception elsewhere: box gradients, forward mode, double backward, bfloat16."""
    features, rois = torch.rand(1, 2, 8, 8), torch.tensor([[0, 1.2, 1.4, 5.3, 6.1]])
    for dtype in (torch.float32, torch.bfloat16):
        boxes = rois.clone().requires_grad_()
        roialign.roi_align(features.to(dtype), boxes, 2).float().square().sum().backward()
        assert boxes.grad is not None
        assert boxes.grad[:, 1:].all()
    assert torch.func.jvp(lambda f: roialign.roi_align(f, rois, 2), (features,), (features,))[1].all()
    leaf = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(roialign.roi_align(leaf, rois, 2).square().sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
    assert second.abs().max() > 0


def test_a_degenerate_box_has_no_gradient_elsewhere() -> None:
    """Adaptive, so without points: nothing may leak to pixel 0."""
    features = torch.rand(1, 2, 5, 5, requires_grad=True)
    answer = roialign.roi_align(features, torch.tensor([[0, 3.0, 3.0, 3.0, 3.0]]), 2)
    answer.sum().backward()
    assert features.grad is not None
    assert not answer.any()
    assert not features.grad.any()


def test_a_huge_box_and_a_large_map_need_no_memory_of_their_own() -> None:
    """A 400 x 400 map and adaptive sampling, where an implementation by tensors takes 30 GB; and a box of 10^5 px."""
    import resource

    features = torch.rand(1, 16, 400, 400, requires_grad=True)
    rois = torch.tensor([[0, 0, 0, 400.0, 400.0], [0, -1e5, -1e5, 1e5, 1e5]]).repeat(50, 1).requires_grad_()
    roialign.roi_align(features, rois[:2], 7).sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    roialign.roi_align(features, rois, 7).sum().backward()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kilobytes < 200e3
