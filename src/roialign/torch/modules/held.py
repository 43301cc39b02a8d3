"""The arguments of a module that are those of a function."""

from __future__ import annotations

import inspect
from typing import Any


def bound_arguments(module: object, signature: inspect.Signature, values: Any, named: Any) -> dict[str, Any]:
    """The arguments of a module's `__init__` by name, with defaults. An error names the class of the module."""
    try:
        bound = signature.bind(*values, **named)
    except TypeError as error:
        raise TypeError(f"{type(module).__name__}.__init__() {error}") from None
    bound.apply_defaults()
    return bound.arguments
