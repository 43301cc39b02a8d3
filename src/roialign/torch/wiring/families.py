"""The table of families: the three functions of each, with their derivatives."""

from __future__ import annotations

from .pairing import Pairing
from .pointwise import POINTWISE
from .separable import SEPARABLE

#: By the name of the family.
PAIRINGS: dict[str, Pairing] = {"separable": SEPARABLE, "pointwise": POINTWISE}
