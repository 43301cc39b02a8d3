"""On a CUDA device, by `pytest -m gpu`: what the interpreter cannot show. Without one these tests are deselected."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import roialign
from roialign.torch.wiring.pointwise import POINTWISE
from roialign.torch.wiring.separable import SEPARABLE
from tests.gpu.scenes import ON_GPU, every_layout, pooled, scene
from tests.tables.answers import ADJOINT_BOXES_ORDERS, ADJOINT_FEATURES_ORDERS, EVERY_NAME, FORWARD_ORDERS, expected
from tests.tables.cases import CASES
from tests.tables.kernels import orders
from tests.tables.pointwise_cases import POINT_CASES

pytestmark = ON_GPU
DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def on_gpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cuda()
    return tuple(on_gpu(part) for part in value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
def test_the_table_of_cases(case: Any, dtype: str, channels_last: bool) -> None:
    from tests.torch.test_backends import array, prepared

    setting, phi, tangents = prepared(EVERY_NAME[case.name], dtype, channels_last)
    phi, right = type(phi)(*[on_gpu(field) for field in phi]), expected(case.name)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    phi = phi._replace(features=tuple(level.contiguous(memory_format=layout) for level in phi.features))
    for order in (0, 1, 2):
        moved = phi._replace(tangents=tuple(tangent.cuda() for tangent in tangents[:order]))
        (answer,) = SEPARABLE.forward(setting, moved._replace(grad_output=None))
        right.check_forward(array(answer.cpu()), dtype, order)
        gradients = SEPARABLE.adjoint_features(setting, moved._replace(features=()))
        right.check_adjoint_features([array(level.cpu()) for level in gradients], dtype, order)
        if order < 2:
            (boxes,) = SEPARABLE.adjoint_boxes(setting, moved)
            right.check_adjoint_boxes(array(boxes[:, 1:].cpu()), dtype, order)


@pytest.mark.parametrize("case", POINT_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
def test_the_table_of_points(case: Any, dtype: str, channels_last: bool) -> None:
    from tests.torch.test_backends import array, prepared

    setting, phi, tangents = prepared(case, dtype, channels_last)
    phi, right = type(phi)(*[on_gpu(field) for field in phi]), expected(case.name)
    if phi.deciding:  # the maps themselves, as in a call of a user
        phi = phi._replace(deciding=phi.features)
    tangents = [tangent.cuda() for tangent in tangents]
    for order in orders(case, dtype, FORWARD_ORDERS):
        moved = phi._replace(tangents=tuple(tangents[:order]), grad_output=None)
        right.check_forward(array(POINTWISE.forward(setting, moved)[0].cpu()), dtype, order)
    for order in orders(case, dtype, ADJOINT_FEATURES_ORDERS):
        moved = phi._replace(tangents=tuple(tangents[:order]), features=())
        gradients = POINTWISE.adjoint_features(setting, moved)
        right.check_adjoint_features([array(level.cpu()) for level in gradients], dtype, order)
    for order in orders(case, dtype, ADJOINT_BOXES_ORDERS):
        (boxes,) = POINTWISE.adjoint_boxes(setting, phi)
        right.check_adjoint_boxes(array(boxes[:, 1:].cpu()), dtype, order)


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
