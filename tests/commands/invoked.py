"""The whole command line in this process, as a user calls it."""

from __future__ import annotations

from unittest.mock import patch

import typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from roialign.commands.app import app
from roialign.commands.detection import add_commands


def _application() -> typer.Typer:
    application = typer.Typer(pretty_exceptions_enable=False)
    application.registered_commands += app.registered_commands
    add_commands(application)
    return application


APPLICATION = _application()
#: Made once: making it takes as long as a short command.
COMMAND = get_command(APPLICATION)


def invoke(*arguments: object) -> Result:
    """Run a command; whatever it raises but its exit code is raised."""
    with patch("typer.testing._get_command", lambda _: COMMAND):
        result = CliRunner().invoke(APPLICATION, [str(argument) for argument in arguments], env={"COLUMNS": "500"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def told(result: Result, kind: str = "error") -> list[str]:
    """What was said, without the word before it."""
    return [line.removeprefix(f"{kind}: ") for line in result.stderr.splitlines() if line.startswith(f"{kind}: ")]
