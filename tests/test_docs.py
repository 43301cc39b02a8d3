"""The pages of docs: their code runs, and their pictures are those that their scripts draw."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import typer
from PIL import Image

import roialign
from roialign._detection_commands import add_commands
from roialign.detection import POOLERS

DOCS = Path(__file__).parent.parent / "docs"


def test_the_code_of_the_operators_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "operators.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    space: dict[str, Any] = {}
    for block in blocks:
        exec(block, space)
    assert space["median"].shape == (2, 8, 7, 7)
    assert not np.allclose(space["median"], space["mean"])


def test_the_table_names_every_operator() -> None:
    table = [line for line in (DOCS / "operators.md").read_text().splitlines() if line.startswith("| `")]
    named = {name for line in table for name in re.findall(r"`(\w+)", line.split("|")[1])}
    others = {"fpn_levels", "taps", "build_info", "get_num_threads", "set_num_threads", "__version__"}
    public = {name for name in roialign.__all__ if not name.endswith("_backward")} - others
    assert public <= named


def test_the_picture_of_the_operators_is_drawn_by_its_script(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "operators.py"))
    script["main"](tmp_path / "operators.png")
    with Image.open(tmp_path / "operators.png") as drawn, Image.open(DOCS / "operators.png") as kept:
        assert drawn.size == kept.size
        difference = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(kept.convert("L"), float))
    assert difference.mean() < 2.0, "other versions of Matplotlib draw letters a little otherwise"


def test_the_numbers_of_the_mistakes_page_are_computed_by_its_script() -> None:
    script = runpy.run_path(str(DOCS / "mistakes.py"))
    assert script["page"]() == (DOCS / "mistakes.md").read_text(encoding="utf-8")
    for title, _, wrong, right in script["mistakes"]():
        assert np.isfinite(right).all(), title
        assert not np.allclose(wrong, right, rtol=0, atol=1e-3), title


def test_the_commands_of_the_detection_page_are_those_of_the_program() -> None:
    add_commands(application := typer.Typer())
    known = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in typer.main.get_command(application).commands.items()
    }
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / "detection.md").read_text(), re.DOTALL)
    lines = [line.split() for line in "".join(blocks).replace("\\\n", " ").splitlines() if line.startswith("roialign ")]
    assert {words[1] for words in lines} >= {"evaluate", "detect"}
    for words in lines:
        assert {word for word in words if word.startswith("--")} <= known[words[1]], words


def test_the_code_of_the_detection_page_has_the_names_that_it_uses() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "detection.md").read_text(), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        compile(block, "detection.md", "exec")
        for line in block.splitlines():
            if line.startswith("from "):
                exec(line, {})


def test_the_table_names_every_pooler() -> None:
    table = [line for line in (DOCS / "detection.md").read_text().splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in table][: len(POOLERS)] == list(POOLERS)
