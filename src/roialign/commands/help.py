"""Adds commands to the command line, with help from their docstrings and examples below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

#: The title of the options that belong to no group.
OPTIONS = "Options"


def add_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., Any],
    examples: str,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Add a function as a command.

    `examples` has the commands as typed in a clone of the repository. `groups` has, by title, the names of the
    parameters that the help lists under this title. The other parameters are listed first.

    The character \\b keeps the line breaks of a block. Without it, the text is wrapped to the width of the terminal.
    """
    blocks = [f"\b\n{_indented(block)}" for block in examples.strip().split("\n\n")]
    titles = {parameter: title for title, members in (groups or {}).items() for parameter in members}

    class Command(TyperCommand):
        """A command whose help lists options in groups, and arguments without their Python types."""

        def format_options(self, ctx: Any, formatter: Any) -> None:
            sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], OPTIONS: []}
            for parameter in self.get_params(ctx):
                record = parameter.get_help_record(ctx)
                if record is None:
                    continue
                if parameter.param_type_name == "argument":
                    sections["Arguments"].append((record[0].partition(" ")[0], record[1]))
                else:
                    sections.setdefault(titles.get(str(parameter.name), OPTIONS), []).append(record)
            for title, records in sections.items():
                if records:
                    with formatter.section(title):
                        formatter.write_dl(records)

    app.command(name, cls=Command, epilog="\n\n".join(["Examples:", *blocks]))(function)


def _indented(block: str) -> str:
    return "\n".join(f"  {line}" for line in block.splitlines())
