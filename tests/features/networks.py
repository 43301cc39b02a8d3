"""Small networks, as the files that backbones are read from, and what backbones make of images."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from roialign.features import Backbone


class TwoLevels(nn.Module):
    """Maps of stride 8 and 16, the coarser one first, and a vector that is no map."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fine, self.coarse = nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 6, 2, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.fine(images).relu()
        coarse = self.coarse(fine)
        return coarse, coarse.mean((2, 3)), fine


class Tokens(nn.Module):
    """Two tokens that are no patch, and then one for each patch of 16 pixels: its mean colours, and its place."""

    def forward(self, images: Tensor) -> Tensor:
        patches = nn.functional.avg_pool2d(images, 16).flatten(2).transpose(1, 2)
        places = torch.ones_like(patches[:, :, :1]).cumsum(1) - 1
        tokens = torch.cat([patches, places], dim=2)
        return torch.cat([tokens[:, :2] * 0 - 1, tokens], dim=1)


def save_program(path: Path, network: nn.Module, *, size: tuple[int, int, int] | None = None) -> Path:
    """As `torch.export` saves it: of any batch and size, or of (batch, height, width)."""
    batch, height, width = size or (2, 64, 96)
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC} if size is None else None
    program = torch.export.export(
        network.eval(), (torch.zeros(batch, 3, height, width),), dynamic_shapes=None if free is None else (free,)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about itself
        torch.export.save(program, path)
    return path


def save_onnx(path: Path, network: nn.Module, *, size: tuple[int, int, int] | None = None) -> Path:
    """The same as ONNX."""
    batch, height, width = size or (2, 64, 96)
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC} if size is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(batch, 3, height, width),),
            path,
            dynamic_shapes=None if free is None else (free,),
            verbose=False,
        )
    return path


def random_images(height: int, width: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def as_array(features: object) -> np.ndarray:
    return features.detach().float().numpy() if isinstance(features, torch.Tensor) else np.asarray(features)


def all_maps(backbone: Backbone, images: np.ndarray) -> list[np.ndarray]:
    return [as_array(features) for features in backbone.maps(images, range(len(backbone.strides)))]
