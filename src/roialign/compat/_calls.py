"""The calls of other packages' functions: recorded by torch as one node, with errors that their users catch."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from .._recording import recordable

P = ParamSpec("P")
T = TypeVar("T")


class ArgumentValueError(ValueError, AssertionError):
    """A ValueError where the other package asserts."""


class ArgumentTypeError(TypeError, AssertionError):
    """A TypeError where the other package asserts."""


def asserting(function: Callable[P, T]) -> Callable[P, T]:
    """The function, whose errors about arguments are an AssertionError too."""

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
    """A function of another package."""
    return recordable(asserting(function))
