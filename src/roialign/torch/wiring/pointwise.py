"""The pointwise family for tensors.

One row ``(image, box, bin offsets, bin masks)`` holds all numbers that describe a RoI. The derivatives in all of them
are therefore the derivatives in "the boxes" of the pairing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..._derivatives import Inputs, Operator
from ..._spec import PointwiseSpec
from ..backends import backend_for
from .family import Family
from .pairing import Pairing


class PointwiseFamily(Family[PointwiseSpec]):
    """Operators that reduce the points of every bin. A maximum is linear in the features for fixed maximal points."""

    name = "pointwise"
    spec = PointwiseSpec
    more_arguments: ClassVar[dict[str, str]] = {"deciding": "Tensor[]?"}
    # Order 2 only if one of the directions is along the masks alone, in which every operator is linear.
    values = (
        "mapping",
        "rule",
        "reduction",
        "channels",
        "sampling_ratio",
        "offset",
        "minimum_length",
        "seed",
        "jitters_points",
        "clockwise",
        "orientations",
        "gamma",
        "extra_pixels",
        "unused_border",
        "scales",
        "assignment",
        "invalid",
        "backend",
        "argument",
        "bins",
        "has_offset",
        "has_mask",
    )

    def forward(self, operator: Operator[PointwiseSpec], inputs: Inputs, out: Tensor) -> None:
        first = of_first_order(operator, inputs, 1)
        if first is None:
            out.zero_()
        else:
            super().forward(operator, first, out)

    def forward_with_winners(self, operator: Operator[PointwiseSpec], inputs: Inputs, out: Tensor) -> Tensor | None:
        first, backend = of_first_order(operator, inputs, 1), backend_for(self.name, out, operator.backend)
        if operator.spec.reduction == "mean" or first is None or not hasattr(backend, "forward_with_winners"):
            return super().forward_with_winners(operator, inputs, out)
        winners: Tensor = backend.new_winners(operator, first.features, out)
        backend.forward_with_winners(operator, first, (out, winners))
        return winners

    def adjoint_features(
        self, operator: Operator[PointwiseSpec], inputs: Inputs, grad_features: Sequence[Tensor]
    ) -> None:
        first = of_first_order(operator, inputs, 1)
        if first is None:
            for gradient in grad_features:
                gradient.zero_()
        else:
            super().adjoint_features(operator, first, grad_features)

    def adjoint_boxes(self, operator: Operator[PointwiseSpec], inputs: Inputs, grad_rois: Tensor) -> None:
        first = of_first_order(operator, inputs, 0)
        if first is not None:
            super().adjoint_boxes(operator, first, grad_rois)
            if inputs.tangents:
                grad_rois[:, mask_column(operator) :] = 0


def mask_column(operator: Operator[PointwiseSpec]) -> int:
    """The column of a row at which the masks begin."""
    return 1 + operator.spec.geometry() + (2 * math.prod(operator.bins) if operator.has_offset else 0)


def of_first_order(operator: Operator[PointwiseSpec], inputs: Inputs, most: int) -> Inputs | None:
    """Return the same derivative with at most `most` tangents, or None if it is zero.

    An operator is linear in its masks, so its derivative along them is the operator with the tangent as masks. Second
    derivatives in the other values of a row are not implemented. The values of the tangents must be read to distinguish
    the two cases, so a second derivative synchronises with a GPU. No other operation does.
    """
    if len(inputs.tangents) <= most:
        return inputs
    begin = mask_column(operator)
    still = [not bool(tangent[:, 1:begin].any()) for tangent in inputs.tangents]
    if not any(still):
        what = "boxes, angles and bin offsets" if operator.has_offset else "boxes"
        raise NotImplementedError(f"pointwise: derivatives with respect to {what} are implemented up to order 1")
    if not operator.has_mask:
        return None
    along = inputs.tangents[still.index(True)]
    rest = [tangent.clone() for index, tangent in enumerate(inputs.tangents) if index != still.index(True)]
    for tangent in rest:
        tangent[:, begin:] = 0
    rows = torch.cat([inputs.rois[:, :begin].double(), along[:, begin:].double()], dim=1)
    return inputs._replace(rois=rows, tangents=tuple(rest))


POINTWISE = Pairing(PointwiseFamily())
