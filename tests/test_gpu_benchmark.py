"""The rows of benchmarks.gpu for the pointwise family, called on the CPU as they are on a GPU. No time is asserted."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the harness is not part of the package

from benchmarks import gpu, gpu_points
from benchmarks.workloads import WORKLOADS


@pytest.mark.parametrize("operator", gpu_points.OPERATORS, ids=lambda operator: operator.name)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_every_operator_is_called(operator: Any, backward: bool) -> None:
    by_position = operator.channels == 490
    small = replace(operator, channels=98 if by_position else 8)
    features, *boxes = gpu_points.scene(small, "cpu", torch.float32, "NHWC", count=3)
    answer = gpu_points.calls_of(small, [features], *boxes, backward)["ours"](0)
    if backward:
        assert answer[0].shape == features.shape
        assert answer[0].any()
    else:
        assert answer.shape == (3, 2 if by_position else 8, 7, 7)


def test_a_wrong_answer_gets_no_time() -> None:
    right = replace(gpu_points.OPERATORS[0], channels=2)
    gpu_points.check(right, torch.float32, "NCHW", "cpu")
    wrong = replace(right, ours=lambda f, b, t: right.ours(f, b, t) * (1.01 if f.dtype == torch.float32 else 1.0))
    with pytest.raises(SystemExit, match="roi_pool: a relative error"):
        gpu_points.check(wrong, torch.float32, "NCHW", "cpu")


def test_the_floor_counts_the_pixels_of_every_roi() -> None:
    """Stride 16: from pixel 0 to pixel 10 and the one after it, the same again beyond the upper left corner."""
    rois = np.array([[0, 8.0, 8.0, 168.0, 168.0], [0, -500.0, -500.0, 168.0, 168.0], [0, 8.0, 8.0, 168.0, 5000.0]])
    counted = gpu.footprint_of(rois, np.zeros(3, np.int64), WORKLOADS["one-roi"])
    assert counted == 256 * (12 * 12 + 12 * 12 + 12 * 50)
