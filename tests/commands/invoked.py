"""The whole command line in this process, as a user calls it."""

from __future__ import annotations

import typer
from typer.testing import CliRunner, Result

from roialign.commands.app import app
from roialign.commands.detection import add_commands


def _application() -> typer.Typer:
    application = typer.Typer(pretty_exceptions_enable=False)
    application.registered_commands += app.registered_commands
    add_commands(application)
    return application


APPLICATION = _application()


def invoke(*arguments: object) -> Result:
    """Run a command; whatever it raises but its exit code is raised."""
    result = CliRunner().invoke(APPLICATION, [str(argument) for argument in arguments], env={"COLUMNS": "500"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def told(result: Result, kind: str = "error") -> list[str]:
    """What was said, without the word before it."""
    return [line.removeprefix(f"{kind}: ") for line in result.stderr.splitlines() if line.startswith(f"{kind}: ")]
