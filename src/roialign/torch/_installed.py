"""Imported first: raises an error that says what to install if torch is missing."""

from .._extras import require

require("torch", "torch")
