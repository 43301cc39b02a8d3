"""How a command is made known: its help, of a docstring, and examples below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

#: Where options stand that belong to no group.
OPTIONS = "Options"


def add_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., Any],
    examples: str,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Make a function the command of that name.

    `examples` are lines as they are typed in a clone. `groups` are parameters of the function by the title under which
    the help lists them; the others are listed before.

    The character \\b keeps the lines of a block as they are; without it help is filled to the terminal's width.
    """
    blocks = [f"\b\n{_indented(block)}" for block in examples.strip().split("\n\n")]
    titles = {parameter: title for title, members in (groups or {}).items() for parameter in members}

    class Command(TyperCommand):
        """One whose help lists options in groups, and arguments without the types that a programmer gave them."""

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
