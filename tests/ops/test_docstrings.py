"""Parameters that are described once, and shown whole everywhere."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import roialign
from roialign._docstrings import parameters_of

OPERATORS = Path(roialign.__file__).parent / "ops"
FUNCTIONS = [name for name in roialign.__all__ if inspect.isfunction(getattr(roialign, name))]


def section(function: Callable[..., Any]) -> str:
    text = (inspect.getdoc(function) or "").partition("Parameters\n----------\n")[2]
    return re.split(r"\n\n\w+\n-+\n", text)[0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_describes_every_parameter(name: str) -> None:
    function = getattr(roialign, name)
    heads = [line.partition(" : ")[0] for line in section(function).splitlines() if line and not line.startswith(" ")]
    described = [parameter for head in heads for parameter in head.split(", ")]
    assert sorted(described) == sorted(inspect.signature(function).parameters)
    assert " : as in :func:" not in section(function)


def source(first: int, second: int) -> None:
    """Adds.

    Parameters
    ----------
    first : int
        One number.

        It has a second paragraph.
    second : int
        The other.

    Returns
    -------
    None
    """


def test_entries_are_taken_in_their_order() -> None:
    @parameters_of(source)
    def function(own: int, first: int, second: int) -> None:
        """Adds more.

        Parameters
        ----------
        own : int
        first, ... : as in :func:`source`

        Returns
        -------
        None
        """

    assert inspect.getdoc(function) == inspect.cleandoc(
        """Adds more.

        Parameters
        ----------
        own : int
        first : int
            One number.

            It has a second paragraph.
        second : int
            The other.

        Returns
        -------
        None
        """
    )


def test_what_nobody_describes_is_an_error() -> None:
    def function(third: int) -> None:
        """Adds.

        Parameters
        ----------
        third : as in :func:`source`
        """

    with pytest.raises(ValueError, match=r"function: source does not describe third"):
        parameters_of(source)(function)
    with pytest.raises(ValueError, match=r"function: parameters_of was not given source"):
        parameters_of()(function)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if (OPERATORS / f"{name}.py").exists()])
def test_an_operator_cites_its_source(name: str) -> None:
    assert "\nReferences\n----------\n" in (inspect.getdoc(getattr(roialign, name)) or "")
