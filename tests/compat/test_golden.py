"""What the other packages answered (tests/golden), through the module that stands in for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from roialign.compat import detectron2, mmcv, onnx, torchvision
from tests.reference.test_golden import Array, each, recorded
from tests.tables.tolerances import assert_close

Pool = Callable[[Tensor, Tensor, tuple[int, int], float, int, bool], Tensor]


def by_torchvision(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    return torchvision.roi_align(x, rois, size, scale, ratio or -1, aligned)


def by_torchvision_module(
    x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    return torchvision.RoIAlign(size, scale, ratio or -1, aligned)(x, rois)


def by_detectron2(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    return detectron2.ROIAlign(size, scale, ratio, aligned)(x, rois)


def by_detectron2_pooler(
    x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    """The pooler takes boxes by image, so the rows come back in that order."""
    images = [torch.nonzero(rois[:, 0] == image).flatten() for image in range(len(x))]
    pooler = detectron2.ROIPooler(size, [scale], ratio, "ROIAlignV2" if aligned else "ROIAlign")
    pooled = pooler([x], [rois[rows, 1:] for rows in images])
    return pooled[torch.argsort(torch.cat(images))]


def by_mmcv(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    return mmcv.roi_align(x, rois, size, scale, ratio, "avg", aligned)


def by_mmcv_module(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    return mmcv.RoIAlign(size, scale, ratio, aligned=aligned)(x, rois)


def by_mmdet(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    layer = {"type": "RoIAlign", "output_size": size, "sampling_ratio": ratio, "aligned": aligned}
    return mmcv.SingleRoIExtractor(layer, x.shape[1], [round(1 / scale)])([x], rois)


def by_mmdet_generic(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    layer = {"type": "RoIAlign", "output_size": size, "sampling_ratio": ratio, "aligned": aligned}
    return mmcv.GenericRoIExtractor(roi_layer=layer, out_channels=x.shape[1], featmap_strides=[round(1 / scale)])(
        [x], rois
    )


def by_onnx(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    answer: Tensor = onnx.roi_align(
        x,
        rois[:, 1:],
        rois[:, 0].long(),
        output_height=size[0],
        output_width=size[1],
        sampling_ratio=ratio,
        spatial_scale=scale,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )
    return answer


WAYS: dict[str, Pool] = {
    function.__name__.removeprefix("by_"): function
    for function in (
        by_torchvision,
        by_torchvision_module,
        by_detectron2,
        by_detectron2_pooler,
        by_mmcv,
        by_mmcv_module,
        by_mmdet,
        by_mmdet_generic,
        by_onnx,
    )
}


@pytest.mark.parametrize("way", WAYS)
@each("torchvision_roi_align")
def test_roi_align(case: str, way: str) -> None:
    """torchvision's answers: one formula, which detectron2, mmcv and ONNX share."""
    arrays = recorded("torchvision_roi_align")[case]
    params = arrays["params"]
    features, rois, grad = (torch.from_numpy(arrays[name]) for name in ("features", "rois", "grad_output"))
    features.requires_grad_()
    size, scale = tuple(params["output_size"]), params["spatial_scale"]
    pooled = WAYS[way](features, rois, size, scale, params["sampling_ratio"], params["aligned"])
    assert_close(
        pooled.detach().numpy(), arrays["output"], "float64", float(np.abs(arrays["features"]).max()), "output"
    )
    (gradient,) = torch.autograd.grad(pooled, features, grad, retain_graph=True)
    (magnitude,) = torch.autograd.grad(pooled, features, grad.abs())
    assert_close(gradient.numpy(), arrays["grad_features"], "float64", magnitude.numpy(), "grad_features")


def pyramid(arrays: dict[str, Any]) -> tuple[list[Tensor], list[Tensor], float]:
    """Levels, boxes by image, and the largest feature."""
    levels = [torch.from_numpy(arrays[level]) for level in ("p2", "p3", "p4", "p5")]
    boxes = [torch.from_numpy(boxes) for boxes in arrays["boxes"]]
    return levels, boxes, max(float(level.abs().max()) for level in levels)


@each("torchvision_multiscale_roi_align")
def test_multiscale_roi_align(case: str) -> None:
    arrays = recorded("torchvision_multiscale_roi_align")[case]
    params, expected = arrays["params"], arrays["output"]
    size, ratio, scales = tuple(params["output_size"]), params["sampling_ratio"], params["scales"]
    levels, boxes, largest = pyramid(arrays)
    canonical = (params["canonical_scale"], params["canonical_level"])

    names = ["p2", "p3", "p4", "p5"]
    by_name = dict(zip([*names, "pool"], [*levels, levels[-1][..., ::2, ::2]], strict=True))
    shapes = [(round(levels[0].shape[2] / scales[0]), round(levels[0].shape[3] / scales[0]))] * len(boxes)
    ours = torchvision.MultiScaleRoIAlign(
        names, size, ratio or -1, canonical_scale=canonical[0], canonical_level=canonical[1]
    )
    assert_close(ours(by_name, boxes, shapes).numpy(), expected, "float64", largest, "torchvision")
    assert ours.scales == scales

    pooler = detectron2.ROIPooler(size, scales, ratio, "ROIAlign", *canonical)
    assert_close(pooler(levels, boxes).numpy(), expected, "float64", largest, "detectron2")

    rois = torch.cat([torch.nn.functional.pad(one, (1, 0), value=image) for image, one in enumerate(boxes)])
    layer = {"type": "RoIAlign", "output_size": size, "sampling_ratio": ratio, "aligned": False}
    finest = canonical[0] * 2 ** (2 - canonical[1])
    extractor = mmcv.SingleRoIExtractor(layer, levels[0].shape[1], [round(1 / scale) for scale in scales], finest)
    assert_close(extractor(levels, rois).numpy(), expected, "float64", largest, "mmdet")


@pytest.mark.parametrize("framework", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("case", recorded("onnxruntime_roi_align"))
def test_onnx_roi_align(case: str, framework: Callable[[Array], Any]) -> None:
    """The recording's own operator set and attribute, for arrays and tensors."""
    arrays = recorded("onnxruntime_roi_align")[case]
    params = arrays["params"]
    pooled = onnx.roi_align(
        framework(arrays["features"]),
        framework(np.ascontiguousarray(arrays["rois"][:, 1:])),
        framework(arrays["rois"][:, 0].astype(np.int64)),
        mode=params["mode"],
        output_height=params["output_size"][0],
        output_width=params["output_size"][1],
        sampling_ratio=params["sampling_ratio"],
        spatial_scale=params["spatial_scale"],
        coordinate_transformation_mode="half_pixel" if params["aligned"] else "output_half_pixel",
        opset=16,
    )
    largest = float(np.abs(arrays["features"]).max())
    assert_close(np.asarray(pooled), arrays["output"].astype(np.float64), "peer float32", largest)
