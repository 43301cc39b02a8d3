"""Offsets of rotated boxes, as a detector predicts them: from upright anchors, and from rotated proposals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .boxes import LARGEST_LOG_RATIO, centre_and_size
from .rotated_boxes import hulls, to_convention

#: A box whose sides deviate from the axes by at most this many pixels is encoded as an upright box. Otherwise, rounding
#: of an angle near 0 would decide between the two ends of a side, and the offsets of an upright box would be noise.
UPRIGHT_WITHIN = 0.1


class MidpointOffsetCoder:
    """Encode rotated boxes as weighted offsets from upright boxes, and decode them.

    Concretely, the offset of box b from reference r is that of the upright hull of b by
    :class:`roialign.detection.boxes.BoxCoder`, followed by ``wa (tx - bx) / hw`` and ``wb (sy - by) / hh``, where
    (bx, by) is the centre of the hull, (hw, hh) is its size, tx is the x of the topmost corner of b and sy is the y of
    its rightmost corner. Decoded offsets describe a parallelogram. Its shorter diagonal is lengthened to the longer
    one, which makes it a rectangle.

    References
    ----------
    Xie et al., "Oriented R-CNN for Object Detection", ICCV 2021, https://arxiv.org/abs/2108.05699
    """

    numbers = 6

    def __init__(self, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 2.0, 2.0)) -> None:
        self.weights = weights

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Offsets ``[L, 6]`` of rotated `boxes` ``[L, 5]`` from upright `references` ``[L, 4]``."""
        centre, size = centre_and_size(hulls(boxes))
        from_centre, from_size = centre_and_size(references)
        offsets = torch.cat(
            [(centre - from_centre) / from_size, torch.log(size / from_size), _midpoints(boxes) / size], dim=1
        )
        return offsets * offsets.new_tensor(self.weights)

    def decode(self, offsets: Tensor, references: Tensor) -> Tensor:
        """Rotated boxes ``[L, D, 5]`` at offsets ``[L, D, 6]`` from upright references ``[L, 4]``."""
        from_centre, from_size = centre_and_size(references)
        offsets = offsets / offsets.new_tensor(self.weights)
        centre = offsets[..., :2] * from_size[:, None] + from_centre[:, None]
        size = torch.exp(offsets[..., 2:4].clamp(max=LARGEST_LOG_RATIO)) * from_size[:, None]
        top_x, right_y = (offsets[..., 4:].clamp(-0.5, 0.5) * size).unbind(-1)
        half_width, half_height = (size * 0.5).unbind(-1)
        # The topmost and the rightmost corner, from the centre: two half diagonals, made equally long.
        top, right = torch.stack([top_x, -half_height], dim=-1), torch.stack([half_width, right_y], dim=-1)
        lengths = [half.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(half.dtype).tiny) for half in (top, right)]
        longest = torch.maximum(*lengths)
        top, right = top * (longest / lengths[0]), right * (longest / lengths[1])
        side, other = right - top, right + top
        angle = torch.atan2(side[..., 1], side[..., 0])
        return to_convention(
            torch.cat([centre, torch.stack([side.norm(dim=-1), other.norm(dim=-1), angle], dim=-1)], dim=-1)
        )


def _midpoints(boxes: Tensor) -> Tensor:
    """The x of the topmost corner and the y of the rightmost corner ``[L, 2]``, from the centre."""
    # The same box with an angle from 0 to a quarter turn: its width goes right and down, its height left and down.
    quarters = torch.floor(boxes[:, 4] / (math.pi / 2))
    angle = boxes[:, 4] - quarters * (math.pi / 2)
    width, height = boxes[:, 2:4].where(quarters[:, None] % 2 == 0, boxes[:, 2:4].flip(1)).unbind(1)
    cosine, sine = angle.cos(), angle.sin()
    midpoints = torch.stack([height * sine - width * cosine, width * sine - height * cosine], dim=1) * 0.5
    # Snap both corners or neither. With only one snapped, the decoded box would have no area.
    ends = (torch.maximum(width, height) * sine <= UPRIGHT_WITHIN)[:, None]
    extent = torch.stack([width * cosine + height * sine, width * sine + height * cosine], dim=1) * 0.5
    return torch.where(ends, extent, midpoints)


class RotatedBoxCoder:
    """Encode rotated boxes as weighted offsets from rotated reference boxes, and decode them.

    Concretely, the offset of box b from reference r is ``(wx dx / rw, wy dy / rh, ww log(bw / rw), wh log(bh / rh),
    wa (ba - ra))``, where (dx, dy) is the vector between the centres along the axes of r. Swapping the sides of b and
    adding a quarter turn to its angle gives the same box. Of these two forms, the one whose angle is closer to that of
    r is used, so the difference of the angles is at most an eighth of a turn.

    This is mmrotate's `DeltaXYWHAOBBoxCoder` with `proj_xy` and `edge_swap`, and weights for its standard deviations.

    References
    ----------
    Xie et al., "Oriented R-CNN for Object Detection", ICCV 2021, https://arxiv.org/abs/2108.05699
    """

    numbers = 5

    def __init__(self, weights: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0, 10.0)) -> None:
        self.weights = weights

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Offsets ``[L, 5]`` of `boxes` from `references`."""
        size, from_size = boxes[:, 2:4], references[:, 2:4]
        turned = _between(boxes[:, 4] - references[:, 4])
        exchanged = _between(boxes[:, 4] - references[:, 4] + math.pi / 2)
        as_it_is = turned.abs() < exchanged.abs()
        size = torch.where(as_it_is[:, None], size, size.flip(1))
        along = _rotated(boxes[:, :2] - references[:, :2], -references[:, 4])
        turned = torch.where(as_it_is, turned, exchanged)
        offsets = torch.cat([along / from_size, torch.log(size / from_size), turned[:, None]], dim=1)
        return offsets * offsets.new_tensor(self.weights)

    def decode(self, offsets: Tensor, references: Tensor) -> Tensor:
        """Boxes ``[L, D, 5]`` at offsets ``[L, D, 5]`` from references ``[L, 5]``."""
        references = references[:, None]
        offsets = offsets / offsets.new_tensor(self.weights)
        size = references[..., 2:4]
        centre = references[..., :2] + _rotated(offsets[..., :2] * size, references[..., 4].expand_as(offsets[..., 0]))
        size = torch.exp(offsets[..., 2:4].clamp(max=LARGEST_LOG_RATIO)) * size
        return to_convention(torch.cat([centre, size, references[..., 4:] + offsets[..., 4:]], dim=-1))


def _between(angles: Tensor) -> Tensor:
    """Add half turns to angles, so that they are from -pi/2 to pi/2."""
    return (angles + math.pi / 2).remainder(math.pi) - math.pi / 2


def _rotated(vectors: Tensor, angles: Tensor) -> Tensor:
    """Vectors ``[..., 2]`` rotated by angles ``[...]``, clockwise on the screen."""
    (x, y), cosine, sine = vectors.unbind(-1), angles.cos(), angles.sin()
    return torch.stack([x * cosine - y * sine, x * sine + y * cosine], dim=-1)
