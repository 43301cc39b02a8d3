"""Shared parameter descriptions: written once, shown in full by ``help()`` of every function.

In the source, a docstring lists shared parameters on one line::

    output_size, spatial_scale, layout : as in :func:`roi_align`

The decorator :func:`parameters_of` replaces that line with the descriptions from the docstring of ``roi_align``. If the
names end in ``...``, all remaining parameters of the function are included as well.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_SECTION = re.compile(r"(?<=Parameters\n----------\n).*?(?=\n\n[A-Z][a-z]+\n-+\n|\Z)", re.DOTALL)
_AS_IN = re.compile(r"(?P<names>[\w, .]+?) : as in :func:`(?P<source>\w+)`")


class _Entry(NamedTuple):
    names: tuple[str, ...]
    text: str
    """The line with the names and the type, followed by the description."""


def parameters_of(*sources: Callable[..., Any]) -> Callable[[Function], Function]:
    """Fill in a function's list of parameters from the docstrings of other functions.

    Parameters
    ----------
    sources : functions
        The functions that the docstring names in ``as in :func:`...```.

    Raises
    ------
    ValueError
        When the function is defined, if its docstring names a function that is not in `sources`, or a parameter that
        the named function does not describe.
    """

    def complete(function: Function) -> Function:
        if function.__doc__ is not None:  # python -OO removes docstrings
            text = inspect.cleandoc(function.__doc__)
            described = {source.__name__: _entries_of(inspect.getdoc(source) or "") for source in sources}
            own = _entries_of(text)
            lines = [line for entry in own for line in _expanded(entry, own, function, described)]
            function.__doc__ = _SECTION.sub(lambda _: "\n".join(lines), text, count=1)
        return function

    return complete


@lru_cache
def _entries_of(docstring: str) -> list[_Entry]:
    found = _SECTION.search(docstring)
    heads = re.split(r"\n(?=\S)", found.group()) if found else []
    return [_Entry(tuple(re.split(r",\s*", head.partition(" : ")[0])), head) for head in heads]


def _expanded(
    entry: _Entry, own: Sequence[_Entry], function: Callable[..., Any], described: dict[str, list[_Entry]]
) -> list[str]:
    line = _AS_IN.fullmatch(entry.text)
    if line is None:
        return [entry.text]
    if line["source"] not in described:
        raise ValueError(
            f"{function.__name__}: parameters_of was not given {line['source']}, which the docstring names"
        )
    wanted = list(entry.names)
    if wanted[-1] == "...":
        described_here = {name for other in own for name in other.names}
        wanted[-1:] = [name for name in inspect.signature(function).parameters if name not in described_here]
    texts: list[str] = []
    for name in wanted:
        found = [other.text for other in described[line["source"]] if name in other.names]
        if not found:
            raise ValueError(f"{function.__name__}: {line['source']} does not describe {name}")
        texts += [text for text in found if text not in texts]
    return texts
