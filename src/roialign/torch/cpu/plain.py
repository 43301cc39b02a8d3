"""The shortest way for calls without conversion and tracing, and with no gradient but that of the features."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ... import _core
from ..._core_specs import core_separable
from ..._spec import SeparableSpec
from .. import checks
from ..memory import empty_on_cpu, is_channels_last, memory_of
from ..wiring.computed import differentiable
from ..wiring.family import Operator, Setting
from ..wiring.primitive import Inputs
from ..wiring.separable import SEPARABLE
from ..wiring.tracing import is_plain_call
from .threads import team_for
from .types import SCALAR_TYPES

PlainMemory = tuple[int, tuple[int, ...], tuple[int, ...], _core.ScalarType]


def forward(
    spec: SeparableSpec,
    features: Tensor,
    scale: float,
    rois: Tensor,
    output_size: tuple[int, int],
    layout: str,
    buffer: object = None,
) -> Tensor | None:
    """Return the result, or None if the call is not plain or not valid."""
    if not (_is_plain(features) and _is_plain(rois)) or features.ndim != 4 or rois.ndim != 2:
        return None
    needs_gradient = torch.is_grad_enabled() and (features.requires_grad or rois.requires_grad)
    if needs_gradient and rois.requires_grad:
        return None
    view = checks.nchw(features, layout)
    is_last = is_channels_last(view)
    shape = rois.shape[0], view.shape[1], *output_size
    if buffer is None:
        out = empty_on_cpu(shape, is_last, view)
    elif type(buffer) is Tensor and buffer.shape == shape and layout == "NCHW" and _is_plain(buffer):
        out = checks.check_out(buffer, shape, (features, rois))
        checks.check_memory_apart(out, (features, rois))
    else:
        return None
    maps, boxes, target = _memory_of(view), _memory_of(rois), _memory_of(out)
    if not _core.plain_forward(core_separable(spec), maps, boxes, scale, False, target, team_for(out.numel())):
        return None
    if needs_gradient:
        setting = spec, scale, tuple(view.shape), is_last
        out = differentiable(out, partial(_adjoint_features, setting), (rois,), (view,))
    return checks.own_layout(out, layout)


#: An operator, its scale, and the sizes and the layout of its map.
_Setting = tuple[SeparableSpec, float, tuple[int, ...], bool]


def _adjoint_features(setting: _Setting, grad_output: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
    spec, scale, map_sizes, channels_last = setting
    if not torch.is_grad_enabled() and is_plain_call(grad_output) and _is_plain(grad_output):
        output = empty_on_cpu(map_sizes, channels_last, grad_output)
        gradient, boxes, target = _memory_of(grad_output), _memory_of(rois), _memory_of(output)
        threads = team_for(grad_output.numel() + output.numel())
        if _core.plain_adjoint_features(core_separable(spec), gradient, boxes, scale, target, threads):
            return (output,)
    general = Setting(Operator(spec, (scale,)), (), map_sizes, channels_last)
    return SEPARABLE.adjoint_features(general, Inputs((), grad_output, rois, None, None, ()))


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.is_cpu
        and tensor.layout == torch.strided
        and tensor.dtype in SCALAR_TYPES
        and not (
            tensor.is_neg()
            or tensor._is_zerotensor()
            or tensor.is_nested
            or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        )
    )


def _memory_of(tensor: Tensor) -> PlainMemory:
    """An address, a shape, strides in elements, and the type."""
    try:
        return tensor.data_ptr(), tensor.shape, tensor.stride(), SCALAR_TYPES[tensor.dtype]
    except RuntimeError:
        return *memory_of(tensor), SCALAR_TYPES[tensor.dtype]  # raises a clearer error
