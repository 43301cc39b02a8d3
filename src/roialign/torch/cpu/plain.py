"""The shortest way for calls without conversion and tracing, and with no gradient but that of the features."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ... import _core
from ..._core_specs import core_separable
from ..._spec import SeparableSpec
from .. import checks
from ..memory import empty_on_cpu, is_channels_last
from ..rois import rows_of_images
from ..wiring.computed import differentiable
from ..wiring.family import Operator, Setting
from ..wiring.primitive import Inputs
from ..wiring.separable import SEPARABLE
from ..wiring.tracing import is_plain_call
from .threads import team_for

#: The functions of DLPack with which the core reads tensors. No call is plain with a torch that does not have them.
_EXCHANGE = getattr(Tensor, "__dlpack_c_exchange_api__", None)


def forward(
    spec: SeparableSpec,
    features: Tensor,
    scale: float,
    rois: Tensor | tuple[Tensor, ...],
    output_size: tuple[int, int],
    layout: str,
    buffer: object = None,
) -> Tensor | None:
    """Return the result, or None if the call is not plain or not valid. RoIs are rows, or the boxes of every image."""
    if _EXCHANGE is None or not _is_plain(features) or features.ndim != 4 or features.dtype not in checks.FLOAT_DTYPES:
        return None
    view = checks.nchw(features, layout)
    is_last = is_channels_last(view)
    sizes = view.shape
    parts = (rois,) if isinstance(rois, Tensor) else rois
    if parts is rois and len(parts) != sizes[0]:
        return None
    records, count = torch.is_grad_enabled(), 0
    for part in parts:
        if not _is_plain(part) or part.ndim != 2 or (records and part.requires_grad):
            return None
        count += part.shape[0]
    shape = count, sizes[1], *output_size
    if buffer is None:
        out = empty_on_cpu(shape, is_last, view)
    elif type(buffer) is Tensor and buffer.shape == shape and layout == "NCHW" and _is_plain(buffer):
        out = checks.check_out(buffer, shape, (features, *parts))
        checks.check_memory_apart(out, (features, *parts))
    else:
        return None
    team = team_for(out.numel())
    if not _core.plain_forward(core_separable(spec), view, rois, scale, False, out, team, _EXCHANGE):
        return None
    if records and features.requires_grad:
        # The boxes of a list may be changed before the backward pass, or have been made in inference mode.
        rows = rois if isinstance(rois, Tensor) else rows_of_images(rois)
        setting = spec, scale, sizes, is_last
        out = differentiable(out, partial(_adjoint_features, setting), (rows,), (view,))
    return checks.own_layout(out, layout)


#: An operator, its scale, and the sizes and the layout of its map.
_Setting = tuple[SeparableSpec, float, tuple[int, ...], bool]


def _adjoint_features(setting: _Setting, grad_output: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
    spec, scale, map_sizes, channels_last = setting
    if not torch.is_grad_enabled() and is_plain_call(grad_output) and _is_plain(grad_output):
        output = empty_on_cpu(map_sizes, channels_last, grad_output)
        threads = team_for(grad_output.numel() + output.numel())
        if _core.plain_adjoint_features(core_separable(spec), grad_output, rois, scale, output, threads, _EXCHANGE):
            return (output,)
    general = Setting(Operator(spec, (scale,)), (), map_sizes, channels_last)
    return SEPARABLE.adjoint_features(general, Inputs((), grad_output, rois, None, None, ()))


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor may have memory that holds its values. The core finds out whether it has."""
    return checks.is_dense(tensor) and not tensor.is_neg()
