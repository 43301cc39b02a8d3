"""Backbones of PyTorch leave the settings of the process as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from roialign.features import BackboneOptions, ImageSize, Normalisation, make_backbone
from roialign.features.torch_backbone import TorchBackbone
from tests.features.test_hf_backbones import TINY


@pytest.fixture
def settings_of_the_process() -> Iterator[None]:
    """Puts PyTorch's settings back."""
    cudnn, threads = torch.backends.cudnn, torch.get_num_threads()
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32
    yield
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = before
    torch.set_num_threads(threads)


def process_settings() -> tuple[Any, ...]:
    """What PyTorch's results depend on in this process."""
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    return torch.get_num_threads(), *flags


class Noting(nn.Module):
    """Notes the settings with which it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[object, ...]] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        self.noted.append(process_settings())
        return [nn.functional.avg_pool2d(images, 8)]


@pytest.mark.usefixtures("settings_of_the_process")
@pytest.mark.parametrize("newer", [False, True])
def test_the_settings_of_the_process_are_those_of_the_backbone_only_while_it_runs(newer: bool) -> None:
    cudnn: Any = torch.backends.cudnn
    torch.set_num_threads(3)
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = False, True, True
    if newer:  # PyTorch then refuses to read allow_tf32
        cudnn.rnn.fp32_precision = "ieee"
    before, network = process_settings(), Noting()
    size, normalisation = ImageSize(fixed=(64, 96)), Normalisation.of("unit")
    images = np.zeros((1, 64, 96, 3), np.uint8)
    backbone = TorchBackbone(network, BackboneOptions(threads=2), size, normalisation, name="noting", facts={})
    assert process_settings() == before
    backbone.maps(images, [0])
    assert process_settings() == before
    for threads, deterministic, benchmark, precision, _ in network.noted:
        assert (threads, deterministic, benchmark) == (2, True, False)
        assert precision != "tf32"
    assert len(network.noted) == 2
    with backbone.for_pooling():
        assert torch.get_num_threads() == 2
    with pytest.raises(AttributeError):  # of an image that is none
        backbone.maps(None, [0])  # type: ignore[arg-type]
    assert process_settings() == before


def test_random_numbers_of_the_process_are_kept(tmp_path: Path) -> None:
    transformers.ViTConfig(image_size=32, patch_size=16, **TINY).save_pretrained(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_backbone(f"hf:{tmp_path / 'config.json'}")
    assert torch.rand(3).tolist() == expected.tolist()
