"""Tensors for the tests: the table's inputs and the public operators, as torch has them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

import roialign
from tests.tables.cases import Inputs as Arrays

DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

SCALES = [1 / 4, 1 / 8]


def values(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features() -> Tensor:
    return values(2, 3, 7, 9)


def few_features() -> Tensor:
    """For what takes a call per element."""
    return values(2, 1, 4, 5)


def pyramid() -> list[Tensor]:
    return [values(2, 3, 12, 16), values(2, 3, 6, 8, seed=1)]


def rois() -> Tensor:
    """Boxes at generic points: no sample on a kink."""
    return torch.tensor(
        [[0, 1.31, 2.17, 29.43, 21.19], [1, -3.77, 5.29, 17.71, 36.13], [1, 8.93, 1.87, 12.61, 9.23]],
        dtype=torch.float64,
    )


class StatedBoxes(Tensor):
    """Boxes that state their format, as torchvision's BoundingBoxes do."""

    format: Any


def stated(boxes: Tensor, name: str) -> Any:
    found = boxes.as_subclass(StatedBoxes)
    found.format = SimpleNamespace(name=name)
    return found


def tensors_of(inputs: Arrays, dtype: str) -> tuple[list[Tensor], Tensor, Tensor, Tensor, list[Tensor]]:
    """features, rois, levels, grad_output and tangents of a case; the last with a column for the image."""
    kind = DTYPES[dtype]
    tangents = [torch.nn.functional.pad(torch.from_numpy(tangent), (1, 0), value=7.0) for tangent in inputs.tangents]
    return (
        [torch.from_numpy(level).to(kind) for level in inputs.features],
        torch.from_numpy(inputs.rois),
        torch.from_numpy(inputs.levels),
        torch.from_numpy(inputs.grad_output).to(kind),
        tangents,
    )


#: Every operator as a function of one map or of a pyramid, and of boxes in image pixels of stride 4.
OPERATORS: dict[str, Callable[..., Any]] = {
    "grid": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, 2),
    "adaptive": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, aligned=False),
    "random": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, 2, sampling="random", seed=11),
    "exact": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, sampling="exact"),
    "prroi": lambda f, r: roialign.prroi_pool(f, r, (2, 3), 1 / 4),
    "crop": lambda f, r: roialign.crop_and_resize(
        f, r[:, 1:] / 40, r[:, 0].long(), (2, 3), "bilinear", 0.5, layout="NCHW"
    ),
    "points": lambda f, r: roialign.bilinear_interpolate(f[0], r[:, 1] / 4, r[:, 2] / 4),
}


def multiscale(f: list[Tensor], r: Any, **more: Any) -> Any:
    """Two levels, and boxes on both."""
    return roialign.multiscale_roi_align(f, r, (2, 3), SCALES, canonical_size=20, canonical_level=3, **more)
