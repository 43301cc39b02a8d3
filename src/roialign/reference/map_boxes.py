"""Step 1: image coordinates to feature coordinates."""

from __future__ import annotations

import math


def map_boxes(
    lower: float, upper: float, scale: float, offset: float = 0.0, minimum_length: float = -math.inf
) -> tuple[float, float]:
    """Map one axis of a box to ``(start, length)`` in feature coordinates.

    Concretely, start = lower * scale - offset and length = (upper * scale - offset) - start, raised to
    `minimum_length` where it is shorter. Pixel centres lie on the integers.
    """
    start = lower * scale - offset
    length = (upper * scale - offset) - start
    return start, max(length, minimum_length)


def map_boxes_tangent(
    lower: float,
    upper: float,
    tangent_lower: float,
    tangent_upper: float,
    scale: float,
    offset: float = 0.0,
    minimum_length: float = -math.inf,
) -> tuple[float, float]:
    """The derivative of :func:`map_boxes` along ``(tangent_lower, tangent_upper)``."""
    start = lower * scale - offset
    lengthened = (upper * scale - offset) - start < minimum_length
    return scale * tangent_lower, 0.0 if lengthened else scale * (tangent_upper - tangent_lower)
