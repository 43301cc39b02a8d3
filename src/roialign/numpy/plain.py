"""The shortest way for calls that need no conversion, which imports the compiled core on first use."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from .._spec import Spec
from .._typing import Array


def forward(
    spec: Spec,
    features: object,
    scale: float,
    rois: object,
    output_size: tuple[int, int],
    layout: str,
    out: object = None,
) -> Array | None:
    """Return the result, or None if the call is not plain or not valid. :mod:`roialign.numpy.call` takes all calls."""
    output: Array | None = _of_cpu().forward(spec, features, scale, rois, output_size, layout, out)
    return output


@cache
def _of_cpu() -> ModuleType:
    from .cpu import plain

    return plain
