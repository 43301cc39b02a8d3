"""Where other packages are known to go wrong, each as a test that the module standing in for it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hessian

import roialign
from roialign.compat import detectron2, mmcv, onnx, torchvision
from tests.tables.python import run_python
from tests.tables.tolerances import assert_close

#: RoIAlign of every package as one function of features and rows, aligned, adaptive, 7 x 7 of a map of stride 4.
Pool = Callable[[Tensor, Tensor], Tensor]
EXTRACTOR = mmcv.SingleRoIExtractor({"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0}, 2, [4])
POOLS: dict[str, Pool] = {
    "torchvision": lambda x, rois: torchvision.roi_align(x, rois, 7, 1 / 4, -1, True),
    "detectron2": detectron2.ROIAlign(7, 1 / 4, 0),
    "mmcv": mmcv.RoIAlign(7, 1 / 4),
    "mmdet": lambda x, rois: EXTRACTOR([x], rois),
    "onnx": lambda x, rois: onnx.roi_align(
        x, rois[:, 1:], rois[:, 0].long(), output_height=7, output_width=7, spatial_scale=1 / 4
    ),
}
each_package = pytest.mark.parametrize("pool", POOLS.values(), ids=list(POOLS))


def features_of(*, images: int = 2, height: int = 12, width: int = 16, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, 2, height, width, generator=generator, dtype=torch.float64).to(dtype)


def rois_of(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


INSIDE = rois_of((1, 5.2, 3.1, 41.7, 30.3), (0, 10.5, 12.25, 33.0, 40.1))


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@each_package
@pytest.mark.usefixtures("deterministic")
def test_deterministic_mode_rejects_points_off_the_map(pool: Pool) -> None:
    """1: torchvision's deterministic path counts them with the edge's value, and truncates the adaptive grid."""
    rois = rois_of((0, -60.0, -50.0, 20.0, 30.0), (1, 30.0, 20.0, 190.0, 131.0), (0, 100.0, 100.0, 130.0, 130.0))
    features = 1 + features_of().abs()
    pooled = pool(features, rois)
    expected = roialign.roi_align(features.numpy(), rois.numpy(), 7, 1 / 4, backend="reference")
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=1e-12)
    assert (pooled[2] == 0).all()


def test_deterministic_mode_takes_no_memory() -> None:
    """1: torchvision's deterministic path takes 30 GB for one map of 400 x 400 with adaptive sampling."""
    script = """
    import resource, torch
    from roialign.compat.torchvision import roi_align
    torch.use_deterministic_algorithms(True)
    features = torch.rand(1, 16, 400, 400, requires_grad=True)
    boxes = [torch.tensor([[0.0, 0.0, 400.0, 400.0]]).repeat(100, 1)]
    roi_align(features[..., :8, :8], boxes, 7).sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    roi_align(features, boxes, 7).sum().backward()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    assert int(run_python(script)) < 200, "MiB; the features and their gradient are 10 each"


@each_package
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_coordinates_that_are_not_finite(pool: Pool, wrong: float) -> None:
    """2: torchvision crashes the process."""
    rois = INSIDE.clone()
    rois[1, 3] = wrong
    with pytest.raises(ValueError, match=r"(rois|boxes)\[1\]: expected finite coordinates, got"):
        pool(features_of(), rois)


@each_package
@pytest.mark.parametrize("image", [-1, 2, 10**6])
def test_images_out_of_range(pool: Pool, image: int) -> None:
    """2: torchvision, detectron2 and mmcv read foreign memory."""
    rois = INSIDE.clone()
    rois[1, 0] = image
    text = rf"(rois|boxes|batch_indices)\[1\]: expected an integer batch index 0 <= index < 2, got {image}"
    with pytest.raises(ValueError, match=text):
        pool(features_of(), rois)


def test_torchvision_scales_come_from_both_axes_and_need_not_be_powers_of_two() -> None:
    """5: torchvision makes 1/16 of a stride of 14."""
    ramp = torch.arange(16.0, dtype=torch.float64).expand(1, 1, 16, 16)
    pool = torchvision.MultiScaleRoIAlign(["0"], 1, 2)
    pooled = pool({"0": ramp}, [torch.tensor([[56.0, 56.0, 112.0, 112.0]])], [(224, 224)])
    assert pool.scales == [1 / 14]
    assert float(pooled) == pytest.approx(6.0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each_package
def test_boxes_are_not_rounded_to_the_dtype_of_the_features(pool: Pool, dtype: torch.dtype) -> None:
    """6: x = 3001 is 3000 in float16, and 3008 in bfloat16."""
    features = features_of(height=4, width=800, dtype=dtype)
    rois = rois_of((0, 3001.0, 2.0, 3009.0, 10.0), (1, 3003.0, 2.0, 3013.0, 14.0)).float()
    pooled, wide = pool(features, rois), pool(features.double(), rois)
    assert pooled.dtype == dtype
    largest = float(features.abs().max())
    assert_close(pooled.double().numpy(), wide.numpy(), str(dtype).removeprefix("torch."), largest)


def test_lists_of_half_boxes_find_their_image() -> None:
    """6: an image index of 2049 in float16 is 2048."""
    boxes = [torch.zeros(0, 4, dtype=torch.float16) for _ in range(2050)]
    boxes[2049] = torch.tensor([[0.0, 0.0, 2.0, 2.0]], dtype=torch.float16)
    markers = (torch.arange(2050) % 2).half().view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    assert float(torchvision.roi_align(markers, boxes, 1)) == 1.0
    assert float(torchvision.MultiScaleRoIAlign(["0"], 1, 2)({"0": markers}, boxes, [(4, 4)])) == 1.0
    assert float(detectron2.ROIPooler(1, [1.0], 2, "ROIAlign")([markers], boxes)) == 1.0
    assert torch.tensor(2049.0).half() == 2048


def test_output_need_not_be_square() -> None:
    """7: detectron2's poolers assume that it is."""
    ys, xs = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    maps = [torch.stack([ys, xs])[None].double()] * 2
    boxes = [rois_of((2.5, 4.5, 14.5, 10.5))]
    pooled = detectron2.ROIPooler((2, 4), [1.0, 0.5], 2, "ROIAlignV2")(maps, boxes)
    np.testing.assert_allclose(pooled[0, 0], [[5.5] * 4, [8.5] * 4], rtol=1e-12)
    np.testing.assert_allclose(pooled[0, 1], [[3.5, 6.5, 9.5, 12.5]] * 2, rtol=1e-12)


@each_package
def test_features_with_any_strides(pool: Pool) -> None:
    """8: mmcv takes them for contiguous. 15: channels-last features are pooled as they are."""
    features = features_of()
    expected = pool(features, INSIDE)
    for view in (
        features.transpose(2, 3).contiguous().transpose(2, 3),
        features.flip(1).contiguous().flip(1),
        torch.stack([features, features], -1)[..., 0],
        features.to(memory_format=torch.channels_last),
    ):
        assert torch.equal(pool(view, INSIDE), expected)
    assert pool(view, INSIDE).is_contiguous(memory_format=torch.channels_last)


@each_package
def test_a_box_of_no_size_moves_only_what_it_touches(pool: Pool) -> None:
    """10: mmcv's gradient of a degenerate RoI leaks to pixel 0. Without a clamp of the count it would be NaN."""
    features = features_of().requires_grad_()
    pooled = pool(features, rois_of((0, 30.0, 20.0, 30.0, 20.0), (0, 40.0, 30.0, 20.0, 10.0)))
    assert (pooled == 0).all(), "no adaptive points"
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    assert (gradient == 0).all()


def test_simple_roi_align_keeps_the_order_of_the_rows() -> None:
    """12: mmcv puts the rows of image 0 first."""
    features = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 8, 8)
    rois = torch.tensor([[image, 8.0, 8.0, 20.0, 20.0] for image in (2, 0, 1, 0, 2)])
    assert mmcv.SimpleRoIAlign(1, 1 / 4)(features, rois).flatten().tolist() == [3.0, 1.0, 2.0, 1.0, 3.0]


def test_extractors_keep_the_order_of_the_rows() -> None:
    maps = [torch.full((2, 1, 64 >> level, 64 >> level), float(level)) for level in range(2)]
    rois = torch.tensor([[image, 8.0, 8.0, 8.0 + side, 8.0 + side] for image, side in ((1, 120), (0, 20), (1, 20))])
    for kind in ("RoIAlign", "PrRoIPool", "SimpleRoIAlign"):
        extractor = mmcv.SingleRoIExtractor({"type": kind, "output_size": 1}, 1, [4, 8])
        assert extractor(maps, rois).flatten().round().tolist() == [1.0, 0.0, 0.0]


def test_onnx_operator_set_10_does_not_shift() -> None:
    """13: ONNX's own reference applies the half-pixel shift to models of operator set 10."""
    ramp, box = np.arange(8.0).reshape(1, 1, 1, 8).repeat(8, axis=2), np.array([[2.0, 2.0, 4.0, 4.0]])
    assert onnx.roi_align(ramp, box, np.array([0]), opset=10).item() == 3.0
    assert onnx.roi_align(ramp, box, np.array([0]), opset=16).item() == 2.5


@each_package
@pytest.mark.parametrize("side", [1e4, 1e5, 1e9])
def test_huge_boxes_with_adaptive_sampling(pool: Pool, side: float) -> None:
    """14: torchvision and onnxruntime take seconds for 10^4 px and cannot allocate for 10^5."""
    features = torch.ones(1, 2, 12, 16, dtype=torch.float64, requires_grad=True)
    pooled = pool(features, rois_of((0, -side, -side, side, side)))
    assert float(pooled[0, 0].sum().detach()) == pytest.approx(49 * 14 * 18 / (side / 2) ** 2, rel=0.2), (
        "the map's share"
    )
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    assert torch.isfinite(gradient).all()


@each_package
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own jvp uses it
def test_every_derivative(pool: Pool) -> None:
    """15: torchvision has no gradient to boxes, silent zeros in forward mode, and no second derivative."""
    features, boxes = features_of().requires_grad_(), INSIDE[:, 1:].clone().requires_grad_()
    fixed = INSIDE[:, :1]

    def energy(x: Tensor, b: Tensor) -> Tensor:
        return pool(x, torch.cat([fixed, b], 1)).pow(2).sum()

    grad_features, grad_boxes = torch.autograd.grad(energy(features, boxes), (features, boxes))
    assert grad_features.abs().max() > 0.1
    assert grad_boxes.abs().max() > 0.1
    direction = torch.ones_like(boxes)
    _, slope = torch.func.jvp(lambda b: energy(features.detach(), b), (boxes.detach(),), (direction,))
    torch.testing.assert_close(slope, (grad_boxes * direction).sum(), rtol=1e-9, atol=1e-9)
    curvature: Any = hessian(lambda b: energy(features.detach(), b), boxes.detach())
    step = 1e-5
    ahead, behind = (
        torch.autograd.grad(energy(features.detach(), moved), moved)[0]
        for moved in (boxes.detach().add(sign * step).requires_grad_() for sign in (1, -1))
    )
    torch.testing.assert_close(curvature.sum((2, 3)), (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-4)


@each_package
def test_bfloat16(pool: Pool) -> None:
    """15: torchvision has no bfloat16."""
    features = features_of(dtype=torch.bfloat16).requires_grad_()
    pooled = pool(features, INSIDE)
    assert pooled.dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    assert gradient.dtype == torch.bfloat16
