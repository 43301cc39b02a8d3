"""Imported first: raises an error that says what to install if a package of the detectors is missing."""

from .._extras import require

require("detection", "torch", "PIL")
