"""Imported before all that needs the detectors' packages: says what to install where one is missing."""

from .._extras import require

require("detection", "torch", "PIL")
