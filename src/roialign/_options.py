"""The options of an operator call, besides features, RoIs and scales."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import _validate
from ._levels import Assignment


class Options(NamedTuple):
    """The shared arguments of the public functions, which their docstrings describe."""

    batch_indices: object = None
    layout: str = "NCHW"
    invalid: str | None = None
    backend: str | None = None
    seed: Any = None
    drawn: bool = True
    """Whether a new seed may be drawn. A backward function needs the seed of the forward pass."""
    levels: object = None
    assignment: Assignment | None = None
    """How RoIs are assigned to levels if `levels` is not given."""
    offset: object = None
    mask: object = None
    deciding: Any = None
    """The maps that determine the maxima, if these are not the features."""
    rois_name: str = "rois"
    """The name of the RoI argument in error messages."""
    indices_name: str = "batch_indices"
    """The name of the argument that `batch_indices` was given as."""

    def check(self) -> None:
        """Check the options that do not depend on an array."""
        _validate.check_layout(self.layout)
        if self.invalid is not None:
            _validate.check_choice(self.invalid, "invalid", ("raise", "zero"))
