"""The functions of both families on tensors, over the shared table of cases: by pointer, of any strides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from roialign._derivatives import Inputs, Operator, Setting
from roialign._levels import Assignment
from roialign._regions import Geometry
from roialign.torch.wiring.pairing import Pairing
from roialign.torch.wiring.pointwise import POINTWISE
from roialign.torch.wiring.separable import SEPARABLE
from tests.tables.answers import (
    ADJOINT_BOXES_ORDERS,
    ADJOINT_FEATURES_ORDERS,
    EVERY_CASE,
    EVERY_NAME,
    FORWARD_ORDERS,
    expected,
)
from tests.tables.cases import Case
from tests.tables.kernels import orders
from tests.tables.pointwise_answers import side_by_side
from tests.tables.tensors import DTYPES, tensors_of

every_case = pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: case.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_layout = pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])


def prepared(case: Case, dtype: str, channels_last: bool, backend: str | None = None) -> tuple[Setting, Inputs, Any]:
    """All that phi takes, and the tangents apart."""
    inputs = expected(case.name).inputs
    if case.family == "pointwise":
        return prepared_points(case, inputs, dtype, channels_last, backend)
    features, rois, levels, gradient, tangents = tensors_of(inputs, dtype)
    if channels_last:
        features = [level.contiguous(memory_format=torch.channels_last) for level in features]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
    sizes = tuple(size for level in features for size in level.shape)
    call = Operator(case.spec, tuple(case.scales), Assignment(224, 4), "zero", backend)
    setting = Setting(call, case.output_size, sizes, channels_last)
    return setting, Inputs(tuple(features), gradient, rois, levels, None, ()), tangents


def prepared_points(
    case: Any, inputs: Any, dtype: str, channels_last: bool, backend: str | None
) -> tuple[Setting, Inputs, Any]:
    """The same for the pointwise family: all numbers of a RoI in one row."""
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def rows(images: Any, geometry: Geometry) -> Tensor:
        return torch.from_numpy(np.column_stack([images, side_by_side(geometry)]).astype(np.float64))

    def tensor(values: Any) -> Tensor:
        return torch.from_numpy(values).to(DTYPES[dtype]).contiguous(memory_format=layout)

    features = tuple(tensor(level) for level in inputs.features)
    sizes = tuple(size for level in features for size in level.shape)
    where = (tuple(case.scales), Assignment(224, 4), "zero", backend, "rois", case.output_size)
    call = Operator(case.spec, *where, case.has_offset, case.has_mask)
    gradient = tensor(inputs.grad_output)
    phi = Inputs(
        features,
        gradient,
        rows(inputs.images, inputs.geometry),
        torch.from_numpy(inputs.levels),
        None,
        (),
        features if case.spec.reduction != "mean" else (),
    )
    setting = Setting(call, tuple(gradient.shape[2:]), sizes, channels_last)
    return setting, phi, [rows(7 + 0 * inputs.images, tangent) for tangent in inputs.tangents]


def family_of(case: Case) -> Pairing:
    return POINTWISE if case.family == "pointwise" else SEPARABLE


def array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """The values in float64, which holds those of every dtype."""
    return tensor.double().numpy()


def check_all(case: Case, dtype: str, channels_last: bool, backend: str | None = None) -> None:
    setting, phi, tangents = prepared(case, dtype, channels_last, backend)
    right = expected(case.name)
    family = family_of(case)
    answers = []
    for order in orders(case, dtype, FORWARD_ORDERS):
        moved = phi._replace(tangents=tuple(tangents[:order]))
        (answer,) = family.forward(setting, moved._replace(grad_output=None))
        right.check_forward(array(answer), dtype, order)
        answers.append(answer)
    for order in orders(case, dtype, ADJOINT_FEATURES_ORDERS):
        moved = phi._replace(tangents=tuple(tangents[:order]))
        gradients = family.adjoint_features(setting, moved._replace(features=()))
        right.check_adjoint_features([array(gradient) for gradient in gradients], dtype, order)
        answers += gradients
    for tensor in answers:
        assert tensor.dtype == DTYPES[dtype]
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert tensor.is_contiguous(memory_format=layout)
    for order in orders(case, dtype, ADJOINT_BOXES_ORDERS):
        (boxes,) = family.adjoint_boxes(setting, phi._replace(tangents=tuple(tangents[:order])))
        assert not boxes[:, 0].any()
        right.check_adjoint_boxes(array(boxes[:, 1:]), dtype, order)


@every_case
@every_dtype
@every_layout
def test_the_core(case: Case, dtype: str, channels_last: bool) -> None:
    check_all(case, dtype, channels_last)


@pytest.mark.parametrize(
    "name",
    [
        "grid, adaptive",
        "exact",
        "crop, fill",
        "pyramid, random",
        "no boxes",
        "max, well apart",
        "deformable, modulated",
    ],
)
@every_dtype
def test_the_reference(name: str, dtype: str) -> None:
    check_all(EVERY_NAME[name], dtype, False, "reference")


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
        lambda t: torch.stack([t, -t], dim=-1)[..., 0],
        lambda t: torch.cat([t, t], dim=1)[:, : t.shape[1]],
        lambda t: torch.nn.functional.pad(t, (2, 1, 3, 0))[:, :, 3:, 2:-1],
        lambda t: t.permute(0, 2, 3, 1).repeat_interleave(2, dim=3)[..., ::2].permute(0, 3, 1, 2),
    ],
    ids=["transposed", "every other", "some channels", "padded", "sparse channels"],
)
@every_dtype
def test_strides(view: Any, dtype: str) -> None:
    setting, phi, _ = prepared(EVERY_NAME["grid, adaptive"], dtype, False)
    odd = phi._replace(features=tuple(view(level) for level in phi.features), grad_output=view(phi.grad_output))
    assert all(torch.equal(a, b) for a, b in zip(odd.features, phi.features, strict=True))
    for function, empty in (
        (SEPARABLE.forward, {"grad_output": None}),
        (SEPARABLE.adjoint_features, {"features": ()}),
        (SEPARABLE.adjoint_boxes, {}),
    ):
        (seen,), (right,) = function(setting, odd._replace(**empty)), function(setting, phi._replace(**empty))
        torch.testing.assert_close(seen, right, rtol=1e-3 if dtype in ("float16", "bfloat16") else 1e-6, atol=1e-6)


def test_one_value_in_the_place_of_many() -> None:
    """Strides of zero, as autograd gives for the gradient of a sum."""
    setting, phi, _ = prepared(EVERY_NAME["grid, adaptive"], "float64", False)
    one = phi._replace(features=(), grad_output=torch.ones((), dtype=torch.float64).expand(phi.grad_output.shape))
    full = one._replace(grad_output=one.grad_output.contiguous())
    (seen,), (right,) = SEPARABLE.adjoint_features(setting, one), SEPARABLE.adjoint_features(setting, full)
    assert torch.equal(seen, right)
