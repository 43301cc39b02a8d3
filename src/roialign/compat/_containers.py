"""Checks of the containers of maps and boxes that the functions of other packages take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._recording import is_proxy

BOXES = "a list with the boxes of each image"


def items_of(values: Any, name: str, expected: str) -> list[Any]:
    """The items of a list, or of anything else that can be iterated over and is not a dict."""
    has_items = hasattr(values, "__iter__") or hasattr(values, "__getitem__")
    if isinstance(values, Mapping) or not has_items or getattr(values, "ndim", 1) == 0:
        raise TypeError(f"{name}: expected {expected}, got {type(values).__name__}")
    return list(values)


def level_maps(values: Any, name: str, count: int) -> list[Any]:
    """The maps of the levels as a list. A proxy has no known length, so the first `count` items are taken."""
    if is_proxy(values):
        return [values[index] for index in range(count)]
    return items_of(values, name, "a list of maps, one per level")


def check_dict(values: object, name: str, expected: str) -> None:
    if not isinstance(values, Mapping):
        raise TypeError(f"{name}: expected a dict {expected}, got {type(values).__name__}")
