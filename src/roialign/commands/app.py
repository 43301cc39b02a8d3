"""The command line `roialign` with all its commands."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from .._version import __version__
from . import detection, extract, search
from .doctor import doctor_command
from .help import add_command
from .info import info_table

app = typer.Typer(
    help="Pool regions of interest of images and feature maps, and train and run object detectors.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: two columns, as wide as the terminal
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"roialign {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    del version


def info_command() -> None:
    """Show versions and available backends, for bug reports."""
    Console().print(info_table())


extract.add_commands(app)
search.add_commands(app)
detection.add_commands(app)
add_command(app, "info", info_command, "roialign info", any_environment=True)
add_command(app, "doctor", doctor_command, "roialign doctor", any_environment=True)
