"""The page of the first hour: what its commands say today is what stands there."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from roialign.commands.app import app
from tests.tables.paths import DOCS

SCRIPT = runpy.run_path(str(DOCS / "first_hour.py"))
WRITTEN = (DOCS / "first-hour.md").read_text(encoding="utf-8")
#: What comes from here on trains, but for the last command.
TRAINING = "## A detector of your own"
COMMANDS = [command for part in SCRIPT["CONTENT"] if isinstance(part, list) for command in part]


def run_here(command: str, folder: Path) -> str:
    """What a command says; one of ours is run in this process, which has loaded what it needs."""
    words = shlex.split(command)
    if words[0] != "roialign":
        return str(SCRIPT["run"](command, folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, words[1:], prog_name="roialign", env={"COLUMNS": "100", "NO_COLOR": "1"})
    return "".join(f"{line.rstrip()}\n" for line in done.output.splitlines())


def test_what_needs_no_training_says_what_the_page_says(tmp_path: Path) -> None:
    content = SCRIPT["CONTENT"]
    (training,) = (index for index, part in enumerate(content) if TRAINING in part)
    for part, written in (
        (content[:training], WRITTEN.partition(TRAINING)[0]),
        (content[-1:], WRITTEN[WRITTEN.rindex("```console") :]),
    ):
        folder = tmp_path / str(len(part))
        folder.mkdir()
        today = "".join(SCRIPT["page"](folder, part, run_here))
        assert "$ roialign" in today
        assert SCRIPT["alike"](today.rstrip()) == SCRIPT["alike"](written.rstrip())


def test_the_commands_of_the_page_are_those_of_the_script() -> None:
    shown = re.findall(r"^\$ (.*(?:\n    --.*)*)", WRITTEN, re.MULTILINE)
    assert [" ".join(command.replace("\\\n", "").split()) for command in shown] == [
        " ".join(command.split()) for command in COMMANDS
    ]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("roialign")])
def test_a_command_of_the_page_can_be_parsed(command: str) -> None:
    _, *words = shlex.split(command)
    group = typer.main.get_command(app)
    if words[0].startswith("-"):
        assert words == ["--version"]
        return
    parsed = group.commands[words[0]].make_context(words[0], words[1:])  # type: ignore[attr-defined]
    given = {word for word in words if word.startswith("--")}
    assert given <= {option for parameter in parsed.command.params for option in parameter.opts}


@pytest.mark.slow
def test_the_commands_of_the_first_hour_say_what_the_page_says(tmp_path: Path) -> None:
    today = "".join(SCRIPT["page"](tmp_path))
    assert SCRIPT["alike"](today.rstrip()) == SCRIPT["alike"](WRITTEN)
    assert (tmp_path / "pictures/astronaut-detections.png").is_file()
    found = re.search(r"(\d+) objects in 1 image", today)
    assert found
    assert 5 <= int(found[1]) <= 8, "it has learnt its photograph"


def test_what_is_alike_is_more_than_nothing() -> None:
    alike = SCRIPT["alike"]
    assert alike("step 1 of 60: loss 4.383 (boxes 0.546), 0.70 s per step, 1 min 9 s left") == [
        "step # of #: loss # (boxes #), # s per step, # left"
    ]
    assert alike(" astronaut.png   7   helmet 1.00   x.png") == alike(" astronaut.png  6  face 0.97   x.png")
    assert alike("error: a") != alike("error: b")
