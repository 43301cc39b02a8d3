"""Decorators for replacements of other packages' functions: one node in torch's graphs, and compatible errors."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

from .._recording import recordable
from ._names import renaming

P = ParamSpec("P")
T = TypeVar("T")

#: The error about a value that is no array of any framework.
NO_ARRAY = re.compile(r"expected a numpy\.ndarray, got ([\w.]+)$")
#: The error about a tensor that is given with an array.
MIXED = re.compile(r"expected a numpy\.ndarray, like the other arguments, got [\w.]+$")


class ArgumentValueError(ValueError, AssertionError):
    """A ValueError that is also an AssertionError, for a check that is an assertion in the other package."""


class ArgumentTypeError(TypeError, AssertionError):
    """A TypeError that is also an AssertionError, for a check that is an assertion in the other package."""


def asserting(function: Callable[P, T]) -> Callable[P, T]:
    """Make the ValueErrors and TypeErrors of a function AssertionErrors as well."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        except AssertionError:
            raise
        except ValueError as error:
            raise ArgumentValueError(*error.args) from error
        except TypeError as error:
            raise ArgumentTypeError(*map(_of_tensors, error.args)) from error

    return call


def _of_tensors(text: object) -> object:
    """Let an error about a call without tensors expect them, as the other packages do, instead of arrays."""
    if not isinstance(text, str):
        return text
    of_tensor = MIXED.sub("expected the other arguments as torch.Tensor, like this one, got numpy.ndarray", text)
    return NO_ARRAY.sub(r"expected a torch.Tensor, got \1", of_tensor)


def peer(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function that replaces one of another package. `names` are those of :func:`renaming`."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        return recordable(asserting(renaming(**names)(function)))

    return decorate


def not_negative(sampling_ratio: Any) -> Any:
    """A sampling ratio in the other packages is adaptive if it is negative. Here only 0 and -1 are."""
    if isinstance(sampling_ratio, (torch.Tensor, np.ndarray)) and sampling_ratio.ndim == 0:
        with suppress(TypeError):  # not an integer
            sampling_ratio = operator.index(sampling_ratio)
    return max(sampling_ratio, 0) if isinstance(sampling_ratio, (int, np.integer)) else sampling_ratio
