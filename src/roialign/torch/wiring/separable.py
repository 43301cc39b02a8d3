"""The separable family for tensors."""

from __future__ import annotations

from ..._spec import SeparableSpec
from .family import Family
from .pairing import Pairing


class SeparableFamily(Family[SeparableSpec]):
    """``out = Wy . F . Wx^T``: linear in the features, channel by channel."""

    name = "separable"
    spec = SeparableSpec
    values = (
        "scales",
        "rule",
        "sampling_ratio",
        "offset",
        "minimum_length",
        "normalised_boxes",
        "fill",
        "seed",
        "assignment",
        "invalid",
        "backend",
        "argument",
    )


SEPARABLE = Pairing(SeparableFamily())
