"""The events that a training run reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cut:
    """The images are being cut into patches, before the run starts."""

    done: int
    """The number of patches that are cut."""
    patches: int
    """The number of all patches, before those without an object are left out."""


@dataclass(frozen=True, slots=True)
class Started:
    """The run starts or resumes."""

    iteration: int
    """The number of completed iterations, 0 for a new run."""
    iterations: int
    """The total number of iterations."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One iteration is complete."""

    iteration: int
    """The number of the iteration, from 1."""
    losses: Mapping[str, float]
    """The losses by name, over all processes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The average precision was measured. Only the first process reports it."""

    iteration: int
    figures: Mapping[str, Any]
    """The result of :func:`roialign.detection.evaluate_model`."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint was written. Only the first process reports it."""

    iteration: int


Event = Cut | Started | Stepped | Measured | Saved
#: A function that is called with each event as it happens.
Report = Callable[[Event], None]
