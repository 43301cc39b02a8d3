"""Decorators for replacements of other packages' functions: one node in torch's graphs, and compatible errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from .._recording import recordable

P = ParamSpec("P")
T = TypeVar("T")


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
            raise ArgumentTypeError(*error.args) from error

    return call


def peer(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that replaces one of another package."""
    return recordable(asserting(function))
