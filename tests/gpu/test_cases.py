"""On a CUDA device, by `pytest -m gpu`: the whole table of cases. Without one these tests are deselected."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu.device import BACKEND, DEVICE, IS_REHEARSAL
from roialign.torch.wiring.pointwise import POINTWISE
from roialign.torch.wiring.separable import SEPARABLE
from tests.gpu.scenes import ON_GPU_OR_REHEARSED, every_layout
from tests.tables.answers import ADJOINT_BOXES_ORDERS, ADJOINT_FEATURES_ORDERS, EVERY_NAME, FORWARD_ORDERS, expected
from tests.tables.cases import CASES, SMALL_CASES
from tests.tables.kernels import orders
from tests.tables.pointwise_cases import POINT_CASES, SMALL_POINT_CASES

pytestmark = ON_GPU_OR_REHEARSED
DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
if IS_REHEARSAL:
    del DTYPES["bfloat16"]  # the interpreter cuts where GPUs round


def on_gpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(DEVICE)
    return tuple(on_gpu(part) for part in value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("case", SMALL_CASES if IS_REHEARSAL else CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
def test_the_table_of_cases(case: Any, dtype: str, channels_last: bool) -> None:
    from tests.torch.test_backends import array, prepared

    setting, phi, tangents = prepared(EVERY_NAME[case.name], dtype, channels_last, BACKEND)
    phi, right = type(phi)(*[on_gpu(field) for field in phi]), expected(case.name)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    phi = phi._replace(features=tuple(level.contiguous(memory_format=layout) for level in phi.features))
    for order in (0, 1, 2):
        moved = phi._replace(tangents=tuple(tangent.to(DEVICE) for tangent in tangents[:order]))
        (answer,) = SEPARABLE.forward(setting, moved._replace(grad_output=None))
        right.check_forward(array(answer.cpu()), dtype, order)
        gradients = SEPARABLE.adjoint_features(setting, moved._replace(features=()))
        right.check_adjoint_features([array(level.cpu()) for level in gradients], dtype, order)
        if order < 2:
            (boxes,) = SEPARABLE.adjoint_boxes(setting, moved)
            right.check_adjoint_boxes(array(boxes[:, 1:].cpu()), dtype, order)


@pytest.mark.parametrize("case", SMALL_POINT_CASES if IS_REHEARSAL else POINT_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
def test_the_table_of_points(case: Any, dtype: str, channels_last: bool) -> None:
    from tests.torch.test_backends import array, prepared

    setting, phi, tangents = prepared(case, dtype, channels_last, BACKEND)
    phi, right = type(phi)(*[on_gpu(field) for field in phi]), expected(case.name)
    if phi.deciding:  # the maps themselves, as in a call of a user
        phi = phi._replace(deciding=phi.features)
    tangents = [tangent.to(DEVICE) for tangent in tangents]
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
