"""Adds commands to the command line, with help from their docstrings, examples below it, and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from rich.console import Console
from typer.core import TyperCommand

from .extract_options import EXPECTED_BOXES
from .readiness import wrong_environment
from .terminal import fails

#: What the paths of some options are; see also :func:`roialign.commands.features.boxes_without_file`.
EXPECTED = {"--boxes": EXPECTED_BOXES}
#: The title of the options that belong to no group.
OPTIONS = "Options"


def add_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., Any],
    examples: str,
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    any_environment: bool = False,
) -> None:
    """Add a function as a command.

    `examples` has the commands as typed in a clone of the repository. `groups` has, by title, the names of the
    parameters that the help lists under this title. The other parameters are listed first. The command ends with an
    error if an environment variable is wrong, unless it works in `any_environment`.

    The character \\b keeps the line breaks of a block. Without it, the text is wrapped to the width of the terminal.
    """
    blocks = [f"\b\n{_indented(block)}" for block in examples.strip().split("\n\n")]
    paths = {parameter for parameter, kind in get_type_hints(function).items() if Path in _kinds(kind)}
    titles = {parameter: title for title, members in (groups or {}).items() for parameter in members}

    class Command(TyperCommand):
        """A command whose help lists options in groups, and arguments without their Python types."""

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            given = list(args)
            rest = super().parse_args(ctx, args)
            if not ctx.resilient_parsing:
                values, _, _ = self.make_parser(ctx).parse_args(args=given)
                for parameter in self.get_params(ctx):
                    if parameter.name in paths:
                        _refuse_empty(parameter, values.get(parameter.name))
            return rest

        def invoke(self, ctx: Any) -> Any:
            wrong = "" if any_environment else wrong_environment()
            if wrong:
                raise fails(Console(stderr=True), wrong)
            return super().invoke(ctx)

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


def _kinds(kind: Any) -> set[Any]:
    """Return a type and the types in it: Path is one of those of ``list[Path] | None``."""
    return {kind}.union(*map(_kinds, get_args(kind)))


def _refuse_empty(parameter: Any, value: object) -> None:
    """Raise an error if a path is empty, because Python takes it for the current folder."""
    if "" in (value if isinstance(value, (list, tuple)) else [value]):
        name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
        expected = EXPECTED.get(name, "a path")
        raise typer.BadParameter(f"expected {expected}, got an empty text", param_hint=name)


def _indented(block: str) -> str:
    return "\n".join(f"  {line}" for line in block.splitlines())
