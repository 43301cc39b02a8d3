"""On a CUDA device, by `pytest -m gpu`: numbers of some values, apart from the table of cases."""

from __future__ import annotations

import pytest
import torch

import roialign
from tests.gpu.scenes import ON_GPU, pooled, scene

pytestmark = ON_GPU


@pytest.mark.parametrize("stride", [14, 15, 7])
def test_scales_keep_all_their_digits(stride: int) -> None:
    """A scale that float32 rounds moves points by 1e-5 px, and flips the adaptive count of whole bin lengths."""
    features = torch.randn(1, 8, 60, 60, dtype=torch.float64)
    bins = torch.arange(1, 8, dtype=torch.float64) * 7 * stride
    rois = torch.stack([0 * bins, 0 * bins + 13, 0 * bins + 13, 13 + bins, 13 + bins], 1)
    right = roialign.roi_align(features, rois, 7, 1 / stride)
    seen = roialign.roi_align(features.cuda(), rois.cuda(), 7, 1 / stride)
    torch.testing.assert_close(seen.cpu(), right, rtol=1e-12, atol=1e-12)


def test_tf32_changes_nothing() -> None:
    pyramid, rois = scene()
    before = torch.get_float32_matmul_precision()
    answers = []
    try:
        for precision in ("highest", "high"):
            torch.set_float32_matmul_precision(precision)
            answers.append(pooled(pyramid, rois))
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(*answers)


def test_bad_rows_raise_where_that_is_asked_for() -> None:
    features, rois = torch.ones(1, 1, 4, 4, device="cuda"), torch.tensor([[3.0, 0, 0, 2, 2]], device="cuda")
    assert not roialign.roi_align(features, rois, 2).any()
    with pytest.raises(ValueError, match=r"rois\[0\]"):
        roialign.roi_align(features, rois, 2, invalid="raise")


def test_points_of_bad_and_huge_boxes() -> None:
    rows = [[-1.0, 0, 0, 4, 4, 1], [0, float("nan"), 0, 4, 4, 1], [0, 3, 3, 1e99, 1e99, 0.3], [0, 4, 4, -5, 1e30, 2]]
    rois, features = torch.tensor(rows, dtype=torch.float64), torch.randn(1, 5, 9, 11)
    right = roialign.roi_align_rotated(features, rois, 3, invalid="zero")
    seen = roialign.roi_align_rotated(features.cuda(), rois.cuda(), 3)
    torch.testing.assert_close(seen.cpu(), right, rtol=1e-5, atol=1e-5)
    assert roialign.roi_align_rotated_backward(torch.ones_like(seen), features.cuda(), rois.cuda())[0].isfinite().all()
