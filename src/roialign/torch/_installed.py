"""Imported before all that needs torch: says what to install where it is missing."""

from .._extras import require

require("torch", "torch")
