"""RoIAlign written in JAX: the four neighbours of every sample point are gathered, for one RoI after the other.

With all RoIs at once (`jax.vmap`), the gathered pixels take gigabytes. A RoI of a pyramid chooses its level by a
switch, because shapes must not depend on values.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .ours_jax import prepare_function
from .work import Inputs, Work


def versions() -> dict[str, str]:
    return {"jax": jax.__version__}


def prepare(inputs: Inputs) -> Work:
    level_of_roi = jnp.asarray(inputs.level_of_roi)

    def pool(maps: list[Any], rois: Any) -> Any:
        def one(roi_and_level: Any) -> Any:
            roi, own = roi_and_level
            branches = [
                lambda roi, level=level, scale=scale: _pool_one(level, roi, scale, inputs)
                for level, scale in zip(maps, inputs.scales, strict=True)
            ]
            return jax.lax.switch(own, branches, roi)

        return jax.lax.map(one, (rois, level_of_roi))

    return prepare_function(inputs, pool)


def _pool_one(level: Any, roi: Any, scale: float, inputs: Inputs) -> Any:
    """The bins of one RoI, ``[C, PH, PW]``."""
    image = level[roi[0].astype(int)]
    bins_y, bins_x = inputs.output_size
    x1, y1, x2, y2 = roi[1:] * scale - 0.5
    rows, columns = (
        _points(low, high, bins, inputs.sampling_ratio, size)
        for low, high, bins, size in zip((y1, x1), (y2, x2), (bins_y, bins_x), image.shape[1:], strict=True)
    )
    values = sum(
        image[:, row][:, :, column] * (weight_y[:, None] * weight_x)
        for row, weight_y in rows
        for column, weight_x in columns
    )
    ratio = inputs.sampling_ratio
    return values.reshape(len(image), bins_y, ratio, bins_x, ratio).mean((2, 4))


def _points(low: Any, high: Any, bins: int, ratio: int, size: int) -> list[tuple[Any, Any]]:
    """The two neighbours of every sample point along an axis, each with its weight."""
    at = low + (jnp.arange(bins * ratio) + 0.5) * ((high - low) / (bins * ratio))
    inside = (at >= -1) & (at <= size)
    clipped = jnp.clip(at, 0, size - 1)
    first = jnp.minimum(jnp.floor(clipped), max(size - 2, 0)).astype(int)
    share = (clipped - first) * inside
    return [(first, inside - share), (jnp.minimum(first + 1, size - 1), share)]
