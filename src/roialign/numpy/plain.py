"""The shortest way for calls that need no conversion, since checks in Python take longer than pooling a few RoIs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from .._memory import empty
from .._plans import Settings
from .._typing import Array
from .call import Call
from .checks import check_out, is_supported

#: Checks the arguments of a call.
prepare = Call


def forward(
    settings: Settings,
    features: Sequence[object],
    rois: object,
    layout: str,
    out: object = None,
) -> Array | None:
    """Return the result, or None if the call is not plain or not valid. :mod:`roialign.numpy.call` takes all calls."""
    maps: tuple[Any, ...] = tuple(features)  # another thread may change a list
    if isinstance(rois, (list, tuple)):
        rois = tuple(rois)
    parts = rois if isinstance(rois, tuple) else (rois,)
    for array in maps:
        if type(array) is not np.ndarray:
            return None
    count = 0
    for part in parts:
        if type(part) is not np.ndarray or part.ndim != 2:
            return None
        count += len(part)
    shape, dtype = maps[0].shape, maps[0].dtype
    if len(shape) != 4 or not is_supported(dtype):
        return None
    core, core_plan = _of_core()
    plan, spec, levels = core_plan(settings)
    output_size = bins_y, bins_x = plan.output_size
    try:
        channels = plan.spec.out_channels(shape[1] if layout == "NCHW" else shape[3], output_size)
        shape = (count, channels, bins_y, bins_x) if layout == "NCHW" else (count, bins_y, bins_x, channels)
        target = empty(shape, dtype) if out is None else check_out(out, shape, dtype, [*maps, *parts])
    except (TypeError, ValueError):
        return None  # the general way raises the first error, which may be about the RoIs
    done = core.plain_forward(spec, maps, rois, levels, layout == "NHWC", target)
    return target if done else None


@cache
def _of_core() -> tuple[Any, Any]:
    """The compiled core and its specifications, which are imported on first use."""
    from .. import _core
    from .._core_specs import core_plan

    return _core, core_plan
