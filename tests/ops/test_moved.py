"""Modules that have moved import under their old names too."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from roialign._moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_module_of_today(old: str) -> None:
    new = MOVED[old]
    assert import_module(old) is import_module(new)
    assert import_module(new).__name__ == import_module(new).__spec__.name == new  # type: ignore[union-attr]


def test_other_names_are_still_unknown() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"roialign\.nothing"):
        import_module("roialign.nothing")


def test_the_command_line_runs_under_its_old_name() -> None:
    command = [sys.executable, "-m", "roialign.cli", "info"]
    assert "backend cpu" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
