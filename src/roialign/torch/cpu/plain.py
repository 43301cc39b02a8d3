"""The shortest way for calls without conversion and tracing, and with no gradient but that of the features."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ... import _core
from ..._core_specs import core_separable
from ..._spec import SeparableSpec
from .. import checks
from ..memory import empty_on_cpu
from ..rois import rows_of_images
from ..wiring.computed import differentiable
from ..wiring.family import Operator, Setting
from ..wiring.primitive import Inputs
from ..wiring.separable import SEPARABLE
from ..wiring.tracing import is_plain_call
from .threads import SHARED_ELEMENTS, team_for

#: The C functions of DLPack, by which the core reads tensors. No call is plain with older versions of torch.
_EXCHANGE = getattr(Tensor, "__dlpack_c_exchange_api__", None)

#: What the core needs of torch.
_TORCH = _EXCHANGE, empty_on_cpu, team_for, SHARED_ELEMENTS


def forward(
    spec: SeparableSpec,
    features: Tensor,
    scale: float,
    rois: Tensor | tuple[Tensor, ...],
    output_size: tuple[int, int],
    layout: str,
    buffer: Tensor | None = None,
) -> Tensor | None:
    """Return the result, or None if the call is not plain or not valid. RoIs are rows, or the boxes of every image."""
    if _EXCHANGE is None or (buffer is not None and not _is_fit(buffer, features, rois, output_size, layout)):
        return None
    records, core_spec = torch.is_grad_enabled(), core_separable(spec)
    found: Any = _core.plain_tensor_forward(
        _TORCH, core_spec, features, rois, scale, output_size, layout == "NHWC", buffer, records
    )
    if found is None:
        return None
    out: Tensor = found[0]
    if records and features.requires_grad:
        view = checks.nchw(features, layout)
        # The boxes of a list may be changed before the backward pass, or have been made in inference mode.
        rows = rois if isinstance(rois, Tensor) else rows_of_images(rois)
        adjoint = partial(_adjoint_features, (spec, core_spec, scale, view.shape, found[1]))
        out = differentiable(out, adjoint, (rows,), (view,))
    return checks.own_layout(out, layout)


#: An operator, also in the core's form, its scale, and the sizes and the layout of its map.
_Setting = tuple[SeparableSpec, _core.SeparableSpec, float, tuple[int, ...], bool]


def _adjoint_features(setting: _Setting, grad_output: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
    spec, core_spec, scale, sizes, channels_last = setting
    if not torch.is_grad_enabled() and is_plain_call(grad_output):
        gradient: Any = _core.plain_tensor_adjoint_features(
            _TORCH, core_spec, grad_output, rois, scale, sizes, channels_last
        )
        if gradient is not None:
            return (gradient,)
    general = Setting(Operator(spec, (scale,)), (), sizes, channels_last)
    return SEPARABLE.adjoint_features(general, Inputs((), grad_output, rois, None, None, ()))


def _is_fit(
    buffer: Tensor,
    features: Tensor,
    rois: Tensor | tuple[Tensor, ...],
    output_size: tuple[int, int],
    layout: str,
) -> bool:
    """Whether the result can be written into a buffer. Raises an error if only the buffer is wrong."""
    inputs = (features, rois) if isinstance(rois, Tensor) else (features, *rois)
    if layout != "NCHW" or features.ndim != 4 or not all(map(checks.is_dense, (buffer, *inputs))):
        return False
    shape = sum([boxes.shape[0] if boxes.ndim else 0 for boxes in inputs[1:]]), features.shape[1], *output_size
    if buffer.shape != shape:
        return False
    checks.check_out(buffer, shape, inputs)
    checks.check_memory_apart(buffer, inputs)
    return True
