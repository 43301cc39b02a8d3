"""Pairs of rotated boxes in torch's operators, for CUDA devices and for derivatives that the compiled core lacks.

The formula is that of cpp/rotated/overlap.cpp. It has no branches, so autograd differentiates it in any mode and to any
order. Where numbers are equal, torch divides the gradient of a minimum evenly, which gives the mean of the derivatives
from both directions, as the core does. Other steps pass gradients on as if nothing was rounded.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .._rotated_boxes import NEGLIGIBLE, Pairing, checked_boxes
from .._validate import LARGEST_COORDINATE
from . import checks
from .cpu.host import array_of

#: The number of pairs whose hulls are compared at a time. The pairs that are left need half a kilobyte each.
COMPARED = 1 << 20
#: Shorter intervals count as points. The areas of larger ones do not overflow when they are divided by the length.
SHORTEST = 1e-300


def rotated_iou(boxes: Tensor, others: Tensor, pairing: Pairing) -> Tensor:
    """Compute :func:`roialign.rotated_iou`."""
    dtype = torch.promote_types(checks.gradient_dtype(boxes), checks.gradient_dtype(others))
    first, second = table_of(boxes, "boxes", pairing), table_of(others, "others", pairing)
    return overlap(first, second, pairing.paired).to(dtype)


def rotated_iou_backward(grad_output: Tensor, boxes: Tensor, others: Tensor, pairing: Pairing) -> tuple[Tensor, Tensor]:
    """Compute :func:`roialign.rotated_iou_backward`."""
    first, second = (table_of(given, name, pairing) for given, name in ((boxes, "boxes"), (others, "others")))
    grad_boxes, grad_others = torch.zeros_like(first), torch.zeros_like(second)
    for rows, columns in near_pairs(first, second, pairing.paired):
        with torch.enable_grad():
            pairs = first[rows].requires_grad_(), second[columns].requires_grad_()
            weights = (grad_output[rows] if pairing.paired else grad_output[rows, columns]).double()
            of_pairs = torch.autograd.grad(overlap_of_pairs(*pairs), pairs, weights)
        grad_boxes += _sums(of_pairs[0], rows, len(first))
        grad_others += _sums(of_pairs[1], columns, len(second))
    gradients = [as_given(grad, pairing) for grad in (grad_boxes, grad_others)]
    return gradients[0].to(checks.gradient_dtype(boxes)), gradients[1].to(checks.gradient_dtype(others))


def rotated_iou_double_backward(
    moved: tuple[Tensor, Tensor], grad_output: Tensor, boxes: Tensor, others: Tensor, pairing: Pairing
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the inner product of `moved` and :func:`rotated_iou_backward`.

    They are those with respect to `grad_output`, `boxes` and `others`.
    """
    first, second = (table_of(given, name, pairing) for given, name in ((boxes, "boxes"), (others, "others")))
    directions = [as_given(tensor.double(), pairing) for tensor in moved]
    gradients = [torch.zeros_like(grad_output.double()), torch.zeros_like(first), torch.zeros_like(second)]
    for rows, columns in near_pairs(first, second, pairing.paired):
        places = (rows,) if pairing.paired else (rows, columns)
        with torch.enable_grad():
            weights = grad_output[places].double().detach().requires_grad_()
            pairs = first[rows].requires_grad_(), second[columns].requires_grad_()
            grads = torch.autograd.grad(overlap_of_pairs(*pairs), pairs, weights, create_graph=True)
            along = directions[0][rows], directions[1][columns]
            of_weights, *of_pairs = torch.autograd.grad(grads, (weights, *pairs), along)
        gradients[0][places] = of_weights
        gradients[1] += _sums(of_pairs[0], rows, len(first))
        gradients[2] += _sums(of_pairs[1], columns, len(second))
    dtypes = [grad_output.dtype, checks.gradient_dtype(boxes), checks.gradient_dtype(others)]
    answers = [gradients[0], as_given(gradients[1], pairing), as_given(gradients[2], pairing)]
    first, second, third = (answer.to(dtype) for answer, dtype in zip(answers, dtypes, strict=True))
    return first, second, third


def with_tangents(boxes: Tensor, others: Tensor, pairing: Pairing, dense: bool) -> Tensor:
    """Intersection over union in float64, with tangents of forward mode. If `dense`, all pairs are computed at once.

    Invalid boxes have 0, so the caller checks them.
    """
    checked = pairing._replace(invalid="zero")
    first, second = table_of(boxes, "boxes", checked), table_of(others, "others", checked)
    if not dense:
        return overlap(first, second, pairing.paired)
    return overlap_of_pairs(first if pairing.paired else first[:, None], second)


def table_of(boxes: Tensor, name: str, pairing: Pairing) -> Tensor:
    """Return float64 boxes whose angles are clockwise on the screen, like `_rotated_boxes.checked_boxes`.

    Values are not read, unless they are to be checked, so a CUDA device need not be waited for.
    """
    table = boxes.double()
    valid = (table.abs() <= LARGEST_COORDINATE).all(dim=1) & (table[:, 2:4] >= 0).all(dim=1)
    if pairing.invalid == "raise" and not bool(valid.all()):
        checked_boxes(array_of(boxes.cpu()), name, pairing)
    return as_given(torch.where(valid[:, None], table, 0.0), pairing)


def as_given(boxes: Tensor, pairing: Pairing) -> Tensor:
    """Change the direction of angles, or of their gradients, if they are counter-clockwise."""
    return boxes if pairing.clockwise else torch.cat([boxes[:, :4], -boxes[:, 4:]], dim=1)


def overlap(boxes: Tensor, others: Tensor, paired: bool) -> Tensor:
    """The intersection over union of the boxes in two tables, computed for pairs whose hulls overlap."""
    answer = boxes.new_zeros(len(boxes) if paired else (len(boxes), len(others)))
    for rows, columns in near_pairs(boxes, others, paired):
        places = (rows,) if paired else (rows, columns)
        answer.index_put_(places, overlap_of_pairs(boxes[rows], others[columns]))
    return answer


def near_pairs(boxes: Tensor, others: Tensor, paired: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of boxes whose upright hulls overlap, in order, a number of rows at a time."""
    first, second = boxes.detach(), others.detach()
    hulls, other_hulls = _half_hulls(first), _half_hulls(second)
    step = COMPARED if paired else max(COMPARED // max(len(second), 1), 1)
    for start in range(0, len(first), step):
        rows = slice(start, start + step)
        centre, hull = first[rows, :2], hulls[rows]
        if paired:
            near = ((centre - second[rows, :2]).abs() < hull + other_hulls[rows]).all(dim=1).nonzero()[:, 0]
            yield near + start, near + start
        else:
            near = ((centre[:, None] - second[:, :2]).abs() < hull[:, None] + other_hulls).all(dim=2).nonzero()
            yield near[:, 0] + start, near[:, 1]


def overlap_of_pairs(boxes: Tensor, others: Tensor) -> Tensor:
    """The intersection over union of boxes ``[..., 5]`` that are broadcast against each other."""
    boxes, others = torch.broadcast_tensors(boxes, others)  # type: ignore[no-untyped-call]
    swap = (others[..., 2] * others[..., 3] < boxes[..., 2] * boxes[..., 3])[..., None]
    smaller, larger = torch.where(swap, others, boxes), torch.where(swap, boxes, others)
    small_area, large_area = smaller[..., 2] * smaller[..., 3], larger[..., 2] * larger[..., 3]
    raw = _intersection(smaller, larger)
    in_range = torch.minimum(raw.clamp(min=0), torch.minimum(small_area, large_area))
    shared = raw + (in_range - raw).detach()
    union = small_area + large_area - shared
    overlaps = shared > 0
    return torch.where(overlaps, shared / torch.where(overlaps, union, 1.0), 0.0)


def _intersection(boxes: Tensor, others: Tensor) -> Tensor:
    x, y, width, height, angle = (others - boxes).unbind(-1)
    del width, height, angle
    along, other_along = _direction(boxes[..., 4]), _direction(others[..., 4])
    centre_x, centre_y = along[0] * x + along[1] * y, along[0] * y - along[1] * x
    cosine = _snapped(along[0] * other_along[0] + along[1] * other_along[1])
    sine = _snapped(along[0] * other_along[1] - along[1] * other_along[0])
    half, other_half = boxes[..., 2:4] / 2, others[..., 2:4] / 2
    across = torch.stack([other_half[..., 0] * cosine, other_half[..., 0] * sine], dim=-1)
    down = torch.stack([-other_half[..., 1] * sine, other_half[..., 1] * cosine], dim=-1)
    centre = torch.stack([centre_x, centre_y], dim=-1)
    corners = torch.stack(
        [centre - across - down, centre + across - down, centre + across + down, centre - across + down], dim=-2
    )
    area = _area_of_edges(corners, torch.roll(corners, -1, dims=-2), half[..., 0, None], half[..., 1, None])
    return torch.where(_is_apart(centre, across, down, half), 0.0, area)


def _area_of_edges(start: Tensor, end: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The sum over edges of the integral of ``clamp(y, -b, b)`` from -a to a. See cpp/rotated/overlap.cpp."""
    step = end - start
    run = torch.where(step[..., 0].abs() < SHORTEST, 1.0, step[..., 0])
    from_x, to_x = _clamp(start[..., 0], a), _clamp(end[..., 0], a)
    from_y = start[..., 1] + ((from_x - start[..., 0]) / run).clamp(0, 1) * step[..., 1]
    to_y = end[..., 1] - ((end[..., 0] - to_x) / run).clamp(0, 1) * step[..., 1]
    low, high = torch.minimum(from_y, to_y), torch.maximum(from_y, to_y)
    is_level = high - low < SHORTEST
    length = torch.where(is_level, 1.0, high - low)
    above = (high - torch.maximum(low, b)).clamp(min=0) / length
    below = (torch.minimum(high, -b) - low).clamp(min=0) / length
    within = (torch.minimum(high, b) - torch.maximum(low, -b)).clamp(min=0) / length
    middle = (_clamp(from_y, b) + _clamp(to_y, b)) / 2
    mean = torch.where(is_level, middle, within * middle + b * (above - below))
    return -((to_x - from_x) * mean).sum(dim=-1)


def _is_apart(centre: Tensor, across: Tensor, down: Tensor, half: Tensor) -> Tensor:
    """Whether a side of one of the boxes separates them."""
    reach = half + across.abs() + down.abs()
    apart = (centre.abs() >= reach).any(dim=-1)
    for side in (across, down):
        distance = (centre * side).sum(dim=-1).abs()
        apart = apart | (distance >= (side * side).sum(dim=-1) + (half * side.abs()).sum(dim=-1))
    return apart


def _clamp(values: Tensor, half: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(values, -half), half)


def _direction(angle: Tensor) -> tuple[Tensor, Tensor]:
    return _snapped(angle.cos()), _snapped(angle.sin())


def _snapped(values: Tensor) -> Tensor:
    """Cosines or sines, with negligible ones replaced by zero. The gradient is that of the values."""
    return values - torch.where(values.abs() < NEGLIGIBLE, values, 0.0).detach()


def _half_hulls(boxes: Tensor) -> Tensor:
    cosine, sine = (part.abs() for part in _direction(boxes[:, 4]))
    width, height = boxes[:, 2], boxes[:, 3]
    return torch.stack([width * cosine + height * sine, width * sine + height * cosine], dim=1) / 2


def _sums(values: Tensor, places: Tensor, count: int) -> Tensor:
    """The sum of the rows of each place, in their order: without atomics, so that it has the same bits every time."""
    order = places.argsort(stable=True)
    lengths = torch.bincount(places, minlength=count)
    return torch.segment_reduce(values[order], "sum", lengths=lengths, axis=0, unsafe=True)
