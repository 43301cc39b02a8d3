"""Deprecated names of arguments."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

from .._warnings import caller_level


def deprecated_names(**names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let an `__init__` accept deprecated argument names, with mmcv's warning. `names` maps old names to new ones."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def init(self: Any, *values: Any, **named: Any) -> None:
            for old, new in names.items():
                if old not in named:
                    continue
                if new in named:
                    raise TypeError(f"{old}: expected only {new}, the new name, got both")
                message = f'"{old}" is deprecated in `{type(self).__name__}`, please use "{new}" instead'
                warnings.warn(message, DeprecationWarning, stacklevel=caller_level())
                named[new] = named.pop(old)
            function(self, *values, **named)

        return init

    return decorate
