"""The separable family for tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._spec import SeparableSpec
from .family import Family, Operator
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

    def linear_part(self, operator: Operator[SeparableSpec]) -> Operator[SeparableSpec]:
        spec: Any = operator.spec
        return replace(operator, spec=spec._replace(fill=0.0)) if spec.fill else operator

    def mixes_channels(self, operator: Operator[SeparableSpec]) -> bool:
        del operator
        return False


SEPARABLE = Pairing(SeparableFamily())
