"""The shortest way for calls without conversion and tracing, and with no gradient but that of the features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from ... import _core
from ..._core_specs import CorePlan, core_plan
from ..._derivatives import Inputs, Operator, Setting
from ..._plans import Plan, Settings
from .. import checks
from ..memory import empty_on_cpu
from ..rois import rows_of_images
from ..wiring.computed import differentiable
from ..wiring.families import PAIRINGS
from ..wiring.kept import check_kept
from ..wiring.tracing import is_plain_call
from .threads import SHARED_ELEMENTS, team_for

#: The C functions of DLPack, by which the core reads tensors. No call is plain with older versions of torch.
_EXCHANGE = getattr(Tensor, "__dlpack_c_exchange_api__", None)

#: What the core needs of torch.
_TORCH = (
    _EXCHANGE,
    Tensor.is_neg,
    attrgetter("requires_grad"),
    Tensor.new_empty_strided,
    empty_on_cpu,
    team_for,
    SHARED_ELEMENTS,
)


def forward(
    settings: Settings,
    features: tuple[Tensor, ...],
    rois: Tensor | tuple[Tensor, ...],
    layout: str,
    buffer: Tensor | None = None,
) -> Tensor | None:
    """Return the result, or None if the call is not plain or not valid. RoIs are rows, or the boxes of every image."""
    if _EXCHANGE is None:
        return None
    prepared = core_plan(settings)
    plan, of_core, levels = prepared
    if buffer is not None and not _is_fit(plan, buffer, features, rois, layout):
        return None
    found: Any = _core.plain_tensor_forward(
        _TORCH, of_core, features, rois, levels, plan.output_size, layout == "NHWC", buffer, torch.is_grad_enabled()
    )
    if found is None:
        return None
    out: Tensor
    out, channels_last, shapes = found
    if shapes is not None:
        maps = features if layout == "NCHW" else [checks.nchw(level, layout) for level in features]
        # The boxes of a list may be changed before the backward pass, or have been made in inference mode.
        rows = rois if isinstance(rois, Tensor) else rows_of_images(rois)
        deciding = [level.detach() for level in maps] if plan.spec.decides() else ()
        adjoint = partial(_adjoint_features, prepared, shapes, channels_last, rows.dtype)
        out = differentiable(out, adjoint, (rows, *deciding), maps)
    return checks.own_layout(out, layout)


def _adjoint_features(
    prepared: CorePlan,
    shapes: list[tuple[int, ...]],
    channels_last: bool,
    rois_dtype: torch.dtype,
    grad_output: Tensor,
    rois: Tensor,
    *deciding: Tensor,
) -> Sequence[Tensor]:
    plan, of_core, levels = prepared
    if not torch.is_grad_enabled() and is_plain_call(grad_output):
        gradients: Any = _core.plain_tensor_adjoint_features(
            _TORCH, of_core, grad_output, deciding, rois, levels, shapes, channels_last
        )
        if gradients is not None:
            return gradients  # type: ignore[no-any-return]
    rows = grad_output.shape[0], 1 + plan.spec.geometry()
    maps = [(shape, grad_output.dtype) for shape in shapes] if deciding else []
    check_kept((rois, *deciding), [(rows, rois_dtype), *maps])
    sizes = tuple([size for shape in shapes for size in shape])
    bins = (grad_output.shape[2], grad_output.shape[3])
    general = Setting(Operator(plan.spec, plan.scales, plan.assignment, bins=bins), (), sizes, channels_last)
    return PAIRINGS[plan.spec.family()].adjoint_features(
        general, Inputs((), grad_output, rois, None, None, (), deciding)
    )


def _is_fit(
    plan: Plan, buffer: Tensor, features: tuple[Tensor, ...], rois: Tensor | tuple[Tensor, ...], layout: str
) -> bool:
    """Whether the result can be written into a buffer. If not, the general way raises the first error."""
    boxes = (rois,) if isinstance(rois, Tensor) else rois
    inputs = (*features, *boxes)
    if layout != "NCHW" or features[0].ndim != 4 or not all(map(checks.is_dense, (buffer, *inputs))):
        return False
    count = sum([part.shape[0] if part.ndim else 0 for part in boxes])
    try:
        shape = count, plan.spec.out_channels(features[0].shape[1], plan.output_size), *plan.output_size
        checks.check_out(buffer, shape, inputs)
        checks.check_memory_apart(buffer, inputs)
    except (TypeError, ValueError):
        return False
    return True
