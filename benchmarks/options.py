"""Options that several experiments share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .process import ROOT

#: The folder that `--write-docs` writes to.
DOCS = ROOT / "docs"

Out = Annotated[Path | None, typer.Option(help="Folder for all results. Rerun with the same folder to resume.")]
Processes = Annotated[int, typer.Option(min=1, help="Number of processes. Each uses one thread.")]


def check_write_docs(small: bool, write_docs: bool) -> None:
    """Check that the pages are only written from a whole run."""
    if small and write_docs:
        raise typer.BadParameter("the page quotes the whole run, not --small", param_hint="--write-docs")
