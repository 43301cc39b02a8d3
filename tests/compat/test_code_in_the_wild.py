"""What code that was written for another package reads, replaces, subclasses or imports."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

import roialign
from roialign.compat import mmcv, torchvision


def maps(channels: int = 3, images: int = 2) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(images, channels, side, side, dtype=torch.float64) for side in (32, 16)]


def boxes() -> list[Tensor]:
    """On the levels 0, 1 and 0."""
    return [torch.tensor([[2.0, 3.0, 40.0, 50.0], [4.0, 5.0, 124.0, 127.0]]), torch.tensor([[8.0, 8.0, 30.0, 60.0]])]


def test_torchvision_pooler_with_another_rule_of_levels() -> None:
    """torchvision's pooler calls its attribute `map_levels` to choose the levels, which users replace."""
    pool = torchvision.MultiScaleRoIAlign(["0", "1"], 2, 2)
    assert pool.map_levels is None
    pool.map_levels = lambda lists: torch.ones(sum(len(entry) for entry in lists), dtype=torch.int64)
    pooled = pool(dict(zip("01", maps(), strict=True)), boxes(), [(128, 128)] * 2)
    expected = roialign.roi_align(maps()[1], boxes(), 2, 1 / 8, 2, aligned=False)
    torch.testing.assert_close(pooled, expected)
    pool.map_levels = lambda lists: torch.full((len(lists),), 2)
    with pytest.raises(ValueError, match=r"levels: expected .* got \(2,\)|levels: .*3"):
        pool(dict(zip("01", maps(), strict=True)), boxes(), [(128, 128)] * 2)


def test_warnings_of_deprecated_names_point_to_the_caller() -> None:
    """Python shows a DeprecationWarning only if it belongs to the user's script."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mmcv.RoIAlign(out_size=2, sample_num=2)  # type: ignore[call-arg]
        mmcv.SingleRoIExtractor({"type": "RoIAlignRotated", "out_size": 2}, 3, [4])
    assert [warning.filename for warning in caught] == [__file__] * 3
