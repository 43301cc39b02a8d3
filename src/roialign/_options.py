"""What a call of an operator says besides its features, its RoIs and their scales."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import _validate
from ._levels import Assignment


class Options(NamedTuple):
    """The arguments that public functions share, in one form for every framework; their docstrings describe them."""

    batch_indices: object = None
    layout: str = "NCHW"
    invalid: str | None = None
    backend: str | None = None
    seed: Any = None
    drawn: bool = True
    """Whether a seed may be drawn: a backward function needs the one that its forward function had."""
    levels: object = None
    assignment: Assignment | None = None
    """How RoIs are assigned to levels, where `levels` does not say."""
    offset: object = None
    mask: object = None
    rois_name: str = "rois"
    """What the user calls the RoIs."""

    def check(self) -> None:
        """What can be checked without an array."""
        _validate.check_layout(self.layout)
        if self.invalid is not None:
            _validate.check_choice(self.invalid, "invalid", ("raise", "zero"))
