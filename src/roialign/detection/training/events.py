"""What a training run says about itself while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Started:
    """The run begins, or goes on."""

    iteration: int
    """How many iterations it has behind it: 0 for a new run."""
    iterations: int
    """How many it will have at its end."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One iteration is done."""

    iteration: int
    """Its number, from 1."""
    losses: Mapping[str, float]
    """By name, over all processes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The average precision was measured; only the first of several processes hears of it."""

    iteration: int
    figures: Mapping[str, Any]
    """As :func:`roialign.detection.evaluate_model` gives them."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint was written; only the first of several processes hears of it."""

    iteration: int


Event = Started | Stepped | Measured | Saved
#: Called with everything that happens, as it happens.
Report = Callable[[Event], None]
