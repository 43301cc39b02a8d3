"""The drop-ins over rotated, rounded and moving bins: against recorded answers, and a loop written out."""

from __future__ import annotations

import doctest
import inspect
import json
import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import roialign
from roialign.compat import detectron2, mmcv, torchvision
from tests.tables.paths import GOLDEN
from tests.tables.tensors import values
from tests.tables.tolerances import assert_close


def recorded(name: str) -> Iterator[tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """Every case of a file: its arguments, and its arrays as tensors."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        for case in sorted({key.split("/")[0] for key in file.files}):
            names = [key for key in file.files if key.startswith(f"{case}/") and not key.endswith("/params")]
            params = json.loads(str(file[f"{case}/params"]))
            yield params, {name.split("/")[1]: torch.from_numpy(file[name]) for name in names}


def modules_of(name: str, params: dict[str, Any]) -> tuple[Any, Any]:
    """A drop-in function of (features, rois), and its module."""
    size, scale, ratio = params["output_size"], params["spatial_scale"], params.get("sampling_ratio", 0)
    turned = (size, scale, ratio, params.get("aligned", True), params.get("clockwise", False))
    return {
        "torchvision_roi_pool": lambda: (torchvision.roi_pool, torchvision.RoIPool(size, scale)),
        "torchvision_ps_roi_align": lambda: (torchvision.ps_roi_align, torchvision.PSRoIAlign(size, scale, ratio)),
        "torchvision_ps_roi_pool": lambda: (torchvision.ps_roi_pool, torchvision.PSRoIPool(size, scale)),
        "mmcv_roi_align_rotated": lambda: (mmcv.roi_align_rotated, mmcv.RoIAlignRotated(*turned)),
        "mmcv_roi_align_max": lambda: (mmcv.roi_align, mmcv.RoIAlign(size, scale, ratio, "max", params["aligned"])),
        "detectron2_roi_align_rotated": lambda: (None, detectron2.ROIAlignRotated(size, scale, ratio)),
    }[name]()


@pytest.mark.parametrize(
    "name",
    [
        "torchvision_roi_pool",
        "torchvision_ps_roi_align",
        "torchvision_ps_roi_pool",
        "mmcv_roi_align_rotated",
        "mmcv_roi_align_max",
        "detectron2_roi_align_rotated",
    ],
)
def test_recorded_answers(name: str) -> None:
    seen = 0
    for params, arrays in recorded(name):
        function, module = modules_of(name, params)
        features = arrays["features"].clone().requires_grad_()
        output = module(features, arrays["rois"])
        largest = float(features.detach().abs().max())
        assert_close(output.detach().numpy(), arrays["output"].numpy(), "float64", largest, str(params))
        if function is not None and "mmcv" not in name:
            ratio = [params["sampling_ratio"]] if "sampling_ratio" in params else []
            again = function(features, arrays["rois"], params["output_size"], params["spatial_scale"], *ratio)
            assert torch.equal(again, output)
        if name != "torchvision_ps_roi_pool":  # whose recorded gradient is not that of its forward
            output.backward(arrays["grad_output"])
            scale = 600 * float(arrays["grad_output"].abs().max())
            assert features.grad is not None
            assert_close(features.grad.numpy(), arrays["grad_features"].numpy(), "float64", scale, str(params))
        seen += 1
    assert seen >= 6


def test_roi_pool_of_mmcv_is_its_loop() -> None:
    features, scale, bins = values(2, 3, 9, 11), 0.5, (3, 2)
    rois = torch.tensor([[0, 1.3, 2.1, 14.2, 13.7], [1, -5.0, 3.0, 30.0, 40.0], [0, 6.0, 6.0, 2.0, 2.0]]).double()
    right = torch.zeros(3, 3, *bins, dtype=torch.float64)
    for k, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        left, top = x1 * scale, y1 * scale
        width, height = (x2 + 1) * scale - left, (y2 + 1) * scale - top
        for i in range(bins[0]):
            for j in range(bins[1]):
                ys = [math.floor(top + i * height / bins[0]), math.ceil(top + (i + 1) * height / bins[0])]
                xs = [math.floor(left + j * width / bins[1]), math.ceil(left + (j + 1) * width / bins[1])]
                (first_y, last_y), (first_x, last_x) = ([min(max(v, 0), s) for v in e] for e, s in ((ys, 9), (xs, 11)))
                if last_y > first_y and last_x > first_x:
                    right[k, :, i, j] = features[int(image), :, first_y:last_y, first_x:last_x].amax(dim=(1, 2))
    assert torch.equal(mmcv.roi_pool(features, rois, bins, scale), right)
    assert torch.equal(mmcv.RoIPool(bins, scale)(features, rois), right)


def test_deformable_and_rotation_invariant_operators_of_mmcv() -> None:
    features, rois = values(1, 8, 7, 9), torch.tensor([[0, 1.0, 1.5, 6.0, 5.0]]).double()
    offset = values(1, 2, 2, 2, seed=1)
    right = roialign.deform_roi_pool(features, rois, offset, 2, 0.5, 2, 0.2)
    assert torch.equal(mmcv.deform_roi_pool(features, rois, offset, 2, 0.5, 2, 0.2), right)
    assert torch.equal(mmcv.DeformRoIPool(2, 0.5, 2, 0.2)(features, rois, offset), right)
    plain = mmcv.deform_roi_pool(features, rois, features.new_zeros(0), 2)
    torch.testing.assert_close(plain, roialign.roi_align(features, rois, 2), rtol=1e-12, atol=1e-12)
    turned = torch.tensor([[0, 3.0, 3.5, 4.0, 2.0, 0.7]]).double()
    right = roialign.riroi_align_rotated(features, turned, 2, 0.5, 2, num_orientations=4, clockwise=True)
    assert torch.equal(mmcv.riroi_align_rotated(features, turned, 2, 0.5, 2, 4, True), right)
    module = mmcv.RiRoIAlignRotated(2, 0.5, num_samples=2, num_orientations=4, clockwise=True)
    assert torch.equal(module(features, turned), right)
    assert repr(module) == (
        "RiRoIAlignRotated(out_size=2, spatial_scale=0.5, num_samples=2, num_orientations=4, clockwise=True)"
    )
    pack = mmcv.ModulatedDeformRoIPoolPack(2, 8, 16, 0.5, 2, 0.2).double()
    assert {name.rpartition(".")[0] for name in pack.state_dict()} == {
        "offset_fc.0",
        "offset_fc.2",
        "offset_fc.4",
        "mask_fc.0",
        "mask_fc.2",
    }
    assert pack(features, rois).shape == (1, 8, 2, 2)


#: How each is made and called, as its package has it.
SIGNATURES: list[tuple[Any, str, str]] = [
    (torchvision.RoIPool, "(output_size, spatial_scale)", "(input, rois)"),
    (torchvision.PSRoIPool, "(output_size, spatial_scale)", "(input, rois)"),
    (torchvision.PSRoIAlign, "(output_size, spatial_scale, sampling_ratio)", "(input, rois)"),
    (detectron2.ROIAlignRotated, "(output_size, spatial_scale, sampling_ratio)", "(input, rois)"),
    (mmcv.RoIPool, "(output_size, spatial_scale=1.0)", "(input, rois)"),
    (
        mmcv.RoIAlignRotated,
        "(output_size, spatial_scale, sampling_ratio=0, aligned=True, clockwise=False)",
        "(input, rois)",
    ),
    (
        mmcv.RiRoIAlignRotated,
        "(out_size, spatial_scale, num_samples=0, num_orientations=8, clockwise=False)",
        "(features, rois)",
    ),
    (
        mmcv.DeformRoIPool,
        "(output_size, spatial_scale=1.0, sampling_ratio=0, gamma=0.1)",
        "(input, rois, offset=None)",
    ),
    *[
        (
            pack,
            "(output_size, output_channels, deform_fc_channels=1024, spatial_scale=1.0, sampling_ratio=0, gamma=0.1)",
            "(input, rois)",
        )
        for pack in (mmcv.DeformRoIPoolPack, mmcv.ModulatedDeformRoIPoolPack)
    ],
]


def shown(signature: inspect.Signature) -> str:
    """Without annotations and self."""
    parameters = [one.replace(annotation=one.empty) for one in signature.parameters.values() if one.name != "self"]
    return str(inspect.Signature(parameters))


@pytest.mark.parametrize(("module", "made", "called"), SIGNATURES, ids=lambda value: getattr(value, "__name__", ""))
def test_signatures_of_modules(module: Any, made: str, called: str) -> None:
    assert shown(inspect.signature(module)) == made
    assert shown(inspect.signature(module.forward)) == called


def test_sizes_are_shown_as_their_packages_do() -> None:
    assert repr(torchvision.RoIPool(7, 0.5)) == "RoIPool(output_size=7, spatial_scale=0.5)"
    assert repr(mmcv.RoIPool(7, 0.5)) == "RoIPool(output_size=(7, 7), spatial_scale=0.5)"
    assert repr(mmcv.RoIAlignRotated(7, 0.5)).startswith("RoIAlignRotated(output_size=(7, 7), spatial_scale=0.5, ")


@pytest.mark.parametrize("name", ["_mmcv_points", "_torchvision_points"])
def test_examples(name: str) -> None:
    failed, attempted = doctest.testmod(import_module(f"roialign.compat.{name}"))
    assert failed == 0
    assert attempted >= 9
