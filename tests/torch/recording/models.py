"""Every operator, module and drop-in as a model of one map ``[2, 12, H, W]`` and of rows ``[K, 5]`` in its pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import roialign
from roialign import torch as modules
from roialign.compat import detectron2, mmcv, onnx, torchvision

BINS = (3, 2)
CHANNELS = 12
IMAGES = 2
#: Of the two levels of a pyramid, as their strides.
STRIDES = [1, 2]
SCALES = [1 / stride for stride in STRIDES]


class Model(nn.Module):
    """A function or a module behind a layer of its own, as it stands in a network."""

    def __init__(self, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        return self.call(torch.tanh(features), rows)


def turned(rows: Tensor) -> Tensor:
    """Rows (image, centre x, centre y, width, height, angle)."""
    image, x1, y1, x2, y2 = (rows[:, index] for index in range(5))
    return torch.stack([image, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, x1 / 5], 1)


def levels(features: Tensor) -> list[Tensor]:
    return [features, functional.interpolate(features, scale_factor=0.5)]  # torch 2.11 exports no pooling of odd maps


def by_image(rows: Tensor) -> list[Tensor]:
    """The first two rows on the first image, and the others on the second."""
    return [rows[:2, 1:], rows[2:, 1:]]


def moving(rows: Tensor) -> dict[str, Tensor]:
    """Offsets and masks of bins."""
    angles = rows[:, 1:2] + torch.arange(2.0 * BINS[0] * BINS[1], device=rows.device)
    offset = torch.sin(angles).reshape(-1, 2, *BINS)
    return {"offset": offset, "mask": torch.sigmoid(offset[:, 0])}


class OnOneMap(nn.Module):
    def __init__(self, pool: Callable[..., Tensor], where: Callable[[Tensor], Any] = lambda rows: rows) -> None:
        super().__init__()
        self.pool, self.where = pool, where

    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        return self.pool(features, self.where(rows))


class OnLevels(OnOneMap):
    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        return self.pool(levels(features), self.where(rows))


class OfTorchvision(nn.Module):
    """A pooler that takes maps by name and the sizes of images."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = torchvision.MultiScaleRoIAlign(["0", "1"], BINS, 2, canonical_scale=6, canonical_level=0)

    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        maps = dict(zip("01", levels(features), strict=True))
        size = (features.shape[2], features.shape[3])
        return self.pool(maps, by_image(rows), [size, size])


def packed(kind: Any, **names: Any) -> nn.Module:
    """A pack with offsets that are not all zero."""
    torch.manual_seed(0)
    pool: nn.Module = kind(BINS, **names, output_channels=CHANNELS, deform_fc_channels=8)
    with torch.no_grad():
        for weights in pool.parameters():
            weights.normal_(std=0.2)
    return pool


def extractor(kind: str = "RoIAlign", size: str = "output_size", **more: Any) -> nn.Module:
    torch.manual_seed(0)
    pool = mmcv.SingleRoIExtractor({"type": kind, size: BINS, **more}, CHANNELS, STRIDES, finest_scale=3)
    with torch.no_grad():
        for weights in pool.parameters():
            weights.normal_(std=0.2)
    return pool


def crop(features: Tensor, rows: Tensor, **more: Any) -> Tensor:
    boxes, images = rows[:, 1:] / 12, rows[:, 0].to(torch.int64)
    return roialign.crop_and_resize(features, boxes, images, BINS, layout="NCHW", **more)  # type: ignore[arg-type, return-value]


class Cropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = modules.CropAndResize(BINS, layout="NCHW")

    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        return self.pool(features, rows[:, 1:] / 12, rows[:, 0].to(torch.int64))


class Moving(nn.Module):
    """A module that is given the offsets of its bins."""

    def __init__(self, pool: nn.Module, *names: str) -> None:
        super().__init__()
        self.pool, self.names = pool, names

    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        given = moving(rows)
        return self.pool(features, rows, *[given[name] for name in self.names])


ours: Any = roialign
UPRIGHT = {"canonical_size": 6, "canonical_level": 0}
ONNX_NAMES: dict[str, Any] = {"output_height": BINS[0], "output_width": BINS[1]}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "roi_align": lambda f, r: ours.roi_align(f, r, BINS, 1.0, 2),
    "roi_align, adaptive": lambda f, r: ours.roi_align(f, r, BINS),
    "roi_align, exact": lambda f, r: ours.roi_align(f, r, BINS, sampling="exact"),
    "roi_align, random": lambda f, r: ours.roi_align(f, r, BINS, 1.0, 2, sampling="random", seed=5),
    'roi_align, mode="max"': lambda f, r: ours.roi_align(f, r, BINS, 1.0, 2, mode="max"),
    "roi_align, boxes per image": lambda f, r: ours.roi_align(f, by_image(r), BINS, 1.0, 2),
    "multiscale_roi_align": lambda f, r: ours.multiscale_roi_align(levels(f), r, BINS, SCALES, 2, **UPRIGHT),
    "roi_align_rotated": lambda f, r: ours.roi_align_rotated(f, turned(r), BINS, 1.0, 2),
    "multiscale_roi_align_rotated": lambda f, r: ours.multiscale_roi_align_rotated(
        levels(f), turned(r), BINS, SCALES, 2, **UPRIGHT
    ),
    "riroi_align_rotated": lambda f, r: ours.riroi_align_rotated(f, turned(r), BINS, 1.0, 2, num_orientations=4),
    "deform_roi_pool": lambda f, r: ours.deform_roi_pool(f, r, output_size=BINS, sampling_ratio=2, **moving(r)),
    "ps_roi_align": lambda f, r: ours.ps_roi_align(f, r, BINS, 1.0, 2),
    "ps_roi_pool": lambda f, r: ours.ps_roi_pool(f, r, BINS),
    "roi_pool": lambda f, r: ours.roi_pool(f, r, BINS),
    "prroi_pool": lambda f, r: ours.prroi_pool(f, r, BINS),
    "crop_and_resize": crop,
    'crop_and_resize, method="nearest"': lambda f, r: crop(f, r, method="nearest"),
    "bilinear_interpolate": lambda f, r: ours.bilinear_interpolate(f[0], r[:, 1], r[:, 2]),
}
MODULES: dict[str, Callable[[], Any]] = {
    "RoIAlign": lambda: modules.RoIAlign(BINS, 1.0, 2),
    "MultiScaleRoIAlign": lambda: OnLevels(modules.MultiScaleRoIAlign(BINS, SCALES, 2, **UPRIGHT)),
    "PrRoIPool": lambda: modules.PrRoIPool(BINS),
    "CropAndResize": Cropping,
    "RoIAlignRotated": lambda: OnOneMap(modules.RoIAlignRotated(BINS, 1.0, 2), turned),
    "MultiScaleRoIAlignRotated": lambda: OnLevels(
        modules.MultiScaleRoIAlignRotated(BINS, SCALES, 2, **UPRIGHT), turned
    ),
    "RiRoIAlignRotated": lambda: OnOneMap(modules.RiRoIAlignRotated(BINS, 1.0, 2, num_orientations=4), turned),
    "PSRoIAlign": lambda: modules.PSRoIAlign(BINS, 1.0, 2),
    "PSRoIPool": lambda: modules.PSRoIPool(BINS),
    "RoIPool": lambda: modules.RoIPool(BINS),
    "DeformRoIPool": lambda: Moving(modules.DeformRoIPool(BINS, 1.0, 2), "offset", "mask"),
    "DeformRoIPoolPack": lambda: packed(modules.DeformRoIPoolPack),
    "ModulatedDeformRoIPoolPack": lambda: packed(modules.ModulatedDeformRoIPoolPack),
}
TORCHVISION: dict[str, Callable[[], Any]] = {
    "roi_align": lambda: lambda f, r: torchvision.roi_align(f, by_image(r), BINS, 1.0, 2),
    "roi_pool": lambda: lambda f, r: torchvision.roi_pool(f, r, BINS),
    "ps_roi_align": lambda: lambda f, r: torchvision.ps_roi_align(f, r, BINS, 1.0, 2),
    "ps_roi_pool": lambda: lambda f, r: torchvision.ps_roi_pool(f, r, BINS),
    "RoIAlign": lambda: torchvision.RoIAlign(BINS, 1.0, 2),
    "RoIPool": lambda: torchvision.RoIPool(BINS, 1.0),
    "PSRoIAlign": lambda: torchvision.PSRoIAlign(BINS, 1.0, 2),
    "PSRoIPool": lambda: torchvision.PSRoIPool(BINS, 1.0),
    "MultiScaleRoIAlign": OfTorchvision,
}
DETECTRON2: dict[str, Callable[[], Any]] = {
    "ROIAlign": lambda: detectron2.ROIAlign(BINS, 1.0, 2),
    "ROIAlignRotated": lambda: OnOneMap(detectron2.ROIAlignRotated(BINS, 1.0, 2), turned),
    **{
        f"ROIPooler, {kind}": (
            lambda kind=kind: OnLevels(
                detectron2.ROIPooler(BINS, SCALES, 2, kind, canonical_box_size=6, canonical_level=0), by_image
            )
        )
        for kind in ("ROIAlign", "ROIAlignV2", "ROIPool")
    },
    "ROIPooler, ROIAlignRotated": lambda: OnLevels(
        detectron2.ROIPooler(BINS, SCALES, 2, "ROIAlignRotated", canonical_box_size=6, canonical_level=0),
        lambda rows: by_image(turned(rows)),
    ),
}
MMCV: dict[str, Callable[[], Any]] = {
    "roi_align": lambda: lambda f, r: mmcv.roi_align(f, r, BINS, 1.0, 2),
    "roi_align_rotated": lambda: lambda f, r: mmcv.roi_align_rotated(f, turned(r), BINS, 1.0, 2),
    "riroi_align_rotated": lambda: lambda f, r: mmcv.riroi_align_rotated(f, turned(r), BINS, 1.0, 2, 4),
    "roi_pool": lambda: lambda f, r: mmcv.roi_pool(f, r, BINS, 1.0),
    "prroi_pool": lambda: lambda f, r: mmcv.prroi_pool(f, r, BINS),
    "deform_roi_pool": lambda: lambda f, r: mmcv.deform_roi_pool(f, r, moving(r)["offset"], BINS, 1.0, 2),
    "RoIAlign": lambda: mmcv.RoIAlign(BINS, 1.0, 2),
    "SimpleRoIAlign": lambda: mmcv.SimpleRoIAlign(BINS, 1.0),
    "RoIAlignRotated": lambda: OnOneMap(mmcv.RoIAlignRotated(BINS, 1.0, 2), turned),
    "RiRoIAlignRotated": lambda: OnOneMap(mmcv.RiRoIAlignRotated(BINS, 1.0, 2, 4), turned),
    "RoIPool": lambda: mmcv.RoIPool(BINS),
    "PrRoIPool": lambda: mmcv.PrRoIPool(BINS),
    "DeformRoIPool": lambda: Moving(mmcv.DeformRoIPool(BINS, 1.0, 2), "offset"),
    "DeformRoIPoolPack": lambda: packed(mmcv.DeformRoIPoolPack),
    "ModulatedDeformRoIPoolPack": lambda: packed(mmcv.ModulatedDeformRoIPoolPack),
    "SingleRoIExtractor": lambda: OnLevels(extractor(sampling_ratio=2)),
    "SingleRoIExtractor, PrRoIPool": lambda: OnLevels(extractor("PrRoIPool")),
    "SingleRoIExtractor, DeformRoIPoolPack": lambda: OnLevels(
        extractor("DeformRoIPoolPack", output_channels=CHANNELS, deform_fc_channels=8)
    ),
    "GenericRoIExtractor": lambda: OnLevels(
        mmcv.GenericRoIExtractor(
            roi_layer={"type": "RoIAlign", "output_size": BINS, "sampling_ratio": 2},
            out_channels=CHANNELS,
            featmap_strides=STRIDES,
        )
    ),
}
ONNX: dict[str, Callable[[], Any]] = {
    "RoiAlign": lambda: lambda f, r: onnx.roi_align(f, r[:, 1:], r[:, 0].long(), sampling_ratio=2, **ONNX_NAMES),
    'RoiAlign, mode="max"': lambda: (
        lambda f, r: onnx.roi_align(f, r[:, 1:], r[:, 0].long(), mode="max", sampling_ratio=2, **ONNX_NAMES)
    ),
}

#: All of them, by where they come from.
GROUPS: dict[str, dict[str, Callable[[], Any]]] = {
    "roialign": {name: (lambda call=call: call) for name, call in FUNCTIONS.items()},
    "roialign.torch": MODULES,
    "roialign.compat.torchvision": TORCHVISION,
    "roialign.compat.detectron2": DETECTRON2,
    "roialign.compat.mmcv": MMCV,
    "roialign.compat.onnx": ONNX,
}
NAMES = [(group, name) for group, members in GROUPS.items() for name in members]


def model_of(group: str, name: str) -> Model:
    return Model(GROUPS[group][name]()).eval()


def inputs(height: int, width: int, count: int) -> tuple[Tensor, Tensor]:
    """Float32 features and rows: on the map and partly off it, no sample on a pixel, boxes of either level."""
    generator = torch.Generator().manual_seed(count)
    features = torch.randn(IMAGES, CHANNELS, height, width, generator=generator)
    low = torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) * 0.6 - 1
    sides = torch.where(torch.arange(count)[:, None] % 2 == 0, 2.3, 9.1) + torch.rand(count, 2, generator=generator)
    image = (torch.arange(count) >= 2).float()[:, None]
    return features, torch.cat([image, low, low + sides], 1)


#: What a program is recorded with, and what it is then called with.
RECORDED, OTHER = inputs(10, 14, 4), inputs(13, 9, 7)
