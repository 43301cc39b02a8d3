"""The shortest way for calls that need no conversion, since checks in Python take longer than pooling a few RoIs."""

from __future__ import annotations

import numpy as np

from ... import _core
from ..._core_specs import core_separable
from ..._memory import empty
from ..._spec import SeparableSpec, Spec
from ..._typing import Array


def forward(
    spec: Spec, features: object, scale: float, rois: object, output_size: tuple[int, int], layout: str
) -> Array | None:
    """Return the result, or None if the call is not plain or not valid. :mod:`roialign.numpy.call` takes all calls."""
    if type(features) is not np.ndarray or type(rois) is not np.ndarray or type(spec) is not SeparableSpec:
        return None
    shape = features.shape
    if len(shape) != 4:
        return None
    if layout == "NCHW":
        out = empty((len(rois), shape[1], *output_size), features.dtype)
    else:
        out = empty((len(rois), *output_size, shape[3]), features.dtype)
    done = _core.plain_forward(core_separable(spec), features, rois, scale, layout == "NHWC", out)
    return out if done else None
