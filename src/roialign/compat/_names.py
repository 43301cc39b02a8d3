"""Errors and warnings that use the argument names of another package's function."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .._rows import OR_WITH_INDICES
from .._warnings import last_call

P = ParamSpec("P")
T = TypeVar("T")

#: The words after which a message names another argument.
REFERRING = ("like", "device of", "dtype of", "row of")


def renaming(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let the errors and warnings of a function use its own names: `names` maps those of :mod:`roialign` to them.

    A word is a name at the start of a message, before an index, a colon, a value or a count, after `REFERRING`, and in
    a call, as of its method. Elsewhere it is English, as in "one tensor of boxes per image".
    """
    one = f"(?:{'|'.join(names) or '(?!)'})"
    after = "|".join(f"(?<={words} )" for words in REFERRING)
    in_call = rf"(?<=\w\(){one}(?=[,)])"
    word = re.compile(rf"(?:^|{after}){one}(?![\w'])|(?<![\w'.]){one}(?=[\[:=]| \(\d|\.\w+\()|{in_call}")

    def with_own_names(text: str) -> str:
        return word.sub(lambda found: names[found[0]], text.replace(OR_WITH_INDICES, ""))

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if _is_compiling():
                return function(*args, **kwargs)
            before = last_call.renamings
            last_call.renamings = (*before, with_own_names)
            try:
                return function(*args, **kwargs)
            except (TypeError, ValueError) as error:
                if error.args and isinstance(error.args[0], str):
                    error.args = (with_own_names(error.args[0]), *error.args[1:])
                raise
            finally:
                last_call.renamings = before

        return call

    return decorate


def _is_compiling() -> bool:
    """Whether torch.compile reads the call. This does not import torch."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())
