"""Step 1: image coordinates to feature coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


def map_boxes(
    lower: float, upper: float, scale: float, offset: float = 0.0, minimum_length: float = -math.inf
) -> tuple[float, float]:
    """Map one axis of a box to ``(start, length)`` in feature coordinates.

    Concretely, start = lower * scale - offset and length = (upper * scale - offset) - start, but at least
    `minimum_length`. Pixel centres have integer coordinates.
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


def map_boxes_rounded(lower: float, upper: float, scale: float, extra_pixels: int) -> tuple[float, float]:
    """Map one axis of a box with both ends rounded to pixels. The result is at least one pixel long.

    `extra_pixels` is 1 if the pixel at the upper end is part of the RoI.
    """
    start = _round(lower * scale)
    return start, max(_round(upper * scale) - start + extra_pixels, 1.0)


class Frame(NamedTuple):
    """A RoI on the map: its own two axes and their position and direction. Or a directional derivative of these."""

    y: tuple[float, float]
    """(start, length) of the RoI along its own axes."""
    x: tuple[float, float]
    cosine: float = 1.0
    sine: float = 0.0
    centre_y: float = 0.0
    centre_x: float = 0.0

    def place(self, along_y: float, along_x: float) -> tuple[float, float]:
        """Map a point on the RoI's own axes to ``(y, x)`` on the map. Positive angles are counter-clockwise."""
        return (
            along_y * self.cosine - along_x * self.sine + self.centre_y,
            along_y * self.sine + along_x * self.cosine + self.centre_x,
        )


def map_rotated_boxes(
    box: Sequence[float], scale: float, offset: float, minimum_length: float, clockwise: bool
) -> Frame:
    """Map (centre x, centre y, width, height, angle in radians). The origin of the RoI's own axes is its centre."""
    centre_x, centre_y, width, height, angle = box
    width, height = max(width * scale, minimum_length), max(height * scale, minimum_length)
    turn = -angle if clockwise else angle
    return Frame(
        (-height / 2.0, height),
        (-width / 2.0, width),
        math.cos(turn),
        math.sin(turn),
        centre_y * scale - offset,
        centre_x * scale - offset,
    )


def map_rotated_boxes_tangent(
    box: Sequence[float], tangent: Sequence[float], scale: float, minimum_length: float, clockwise: bool
) -> Frame:
    """The derivative of :func:`map_rotated_boxes` along a `tangent` of the box."""
    height, width = (0.0 if box[side] * scale < minimum_length else tangent[side] * scale for side in (3, 2))
    sign = -1.0 if clockwise else 1.0
    turn, speed = sign * box[4], sign * tangent[4]
    return Frame(
        (-height / 2.0, height),
        (-width / 2.0, width),
        -math.sin(turn) * speed,
        math.cos(turn) * speed,
        tangent[1] * scale,
        tangent[0] * scale,
    )


def shift_frame(frame: Frame, gamma: float, shift: Sequence[float]) -> Frame:
    """The frame for a bin with offset `shift` (x, y). Its start is moved by gamma * size * offset."""
    (start_y, height), (start_x, width) = frame.y, frame.x
    return frame._replace(
        y=(start_y + gamma * height * shift[1], height), x=(start_x + gamma * width * shift[0], width)
    )


def shift_frame_tangent(
    frame: Frame, tangent: Frame, gamma: float, shift: Sequence[float], shift_tangent: Sequence[float]
) -> Frame:
    """The derivative of :func:`shift_frame` along a tangent of the frame and a tangent of the shift."""
    moved = shift_frame(tangent, gamma, shift)
    return moved._replace(
        y=(moved.y[0] + gamma * frame.y[1] * shift_tangent[1], moved.y[1]),
        x=(moved.x[0] + gamma * frame.x[1] * shift_tangent[0], moved.x[1]),
    )


def _round(value: float) -> float:
    """Round half away from zero, as C does. (Python rounds half to even.)"""
    whole = math.floor(abs(value))
    return math.copysign(whole + (abs(value) - whole >= 0.5), value)
