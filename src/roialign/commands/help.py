"""How a command is made known: its help, of a docstring, and examples below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer


def add_command(app: typer.Typer, name: str, function: Callable[..., Any], examples: str) -> None:
    """Make a function the command of that name; `examples` are lines as they are typed in a clone.

    The character \\b keeps the lines of a block as they are; without it help is filled to the terminal's width.
    """
    blocks = [f"\b\n{_indented(block)}" for block in examples.strip().split("\n\n")]
    app.command(name, epilog="\n\n".join(["Examples:", *blocks]))(function)


def _indented(block: str) -> str:
    return "\n".join(f"  {line}" for line in block.splitlines())
