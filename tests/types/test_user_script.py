"""What type checkers say of a user's script: its mistakes, each where it is, and nothing else."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import roialign
import roialign.torch
from roialign._typing import Everywhere

SCRIPT = Path(__file__).with_name("user_script.py")
#: Where the package lies, if checkers do not find it by themselves.
SOURCE = Path(roialign.__file__).parents[1]
IS_INSTALLED = Path(sysconfig.get_path("purelib")).resolve() == SOURCE.resolve()


def mistakes() -> dict[int, str]:
    """The wrong lines of the script, from 1, and what is wrong with each."""
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    return {number: line.partition("# wrong: ")[2] for number, line in enumerate(lines, start=1) if "# wrong: " in line}


def found_by_mypy(script: Path, folder: Path, kept: Path) -> dict[int, str]:
    """Errors by line. mypy keeps what it knows of torch and of ourselves, and reads anew what has changed."""
    environment = {**os.environ, "MYPYPATH": "" if IS_INSTALLED else str(SOURCE)}
    words = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(kept), str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    errors = re.findall(r"^user_script\.py:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert errors, done.stdout + done.stderr
    return {int(number): text for number, text in errors}


def found_by_pyright(script: Path, folder: Path, kept: Path) -> dict[int, str]:
    """Errors by line, from 1: of basedpyright, which in strict mode has pyright's rules."""
    del kept
    settings = {
        "typeCheckingMode": "strict",
        "include": [script.name],
        "extraPaths": [] if IS_INSTALLED else [str(SOURCE)],
        "pythonVersion": "3.10",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    interpreter = ["--pythonpath", sys.executable]
    words = [sys.executable, "-m", "basedpyright", "--project", str(folder), *interpreter, "--outputjson"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    found: list[dict[str, Any]] = json.loads(done.stdout)["generalDiagnostics"]
    assert found, done.stdout + done.stderr
    return {each["range"]["start"]["line"] + 1: each["message"] for each in found}


@pytest.mark.parametrize("check", [pytest.param(found_by_mypy, marks=pytest.mark.slow), found_by_pyright])
def test_checkers_find_the_mistakes_and_nothing_else(check: Any, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    script = tmp_path / SCRIPT.name
    script.write_text(SCRIPT.read_text(encoding="utf-8"))
    assert len(mistakes()) >= 8
    kept: Path = pytestconfig.cache.mkdir("mypy")  # type: ignore[union-attr]
    found = check(script, tmp_path, kept)
    assert {number: found.get(number) for number in mistakes()} == found


def test_what_is_not_a_mistake_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, mark, _ = SCRIPT.read_text(encoding="utf-8").partition("# Mistakes.\n")
    assert mark
    (tmp_path / "script.py").write_text(right)
    space = runpy.run_path(str(tmp_path / "script.py"))
    assert space["pooled"].shape == (2, 256, 7, 7)
    assert set(space["found"][0]) == {"boxes", "scores", "labels"}
    assert capsys.readouterr().out


def typed_constructors() -> dict[str, ast.FunctionDef]:
    """By class of `roialign.torch`: the `__init__` that only type checkers read."""
    found = {}
    for path in sorted((Path(roialign.__file__).parent / "torch" / "modules").glob("*.py")):
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(each, ast.ClassDef):
                parts = [part for block in each.body if isinstance(block, ast.If) for part in block.body]
                for part in parts:
                    if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                        found[each.name] = part
    return found


@pytest.mark.parametrize("name", sorted(typed_constructors()))
def test_what_checkers_read_of_a_constructor_is_what_runs(name: str) -> None:
    """The same names in the same order with the same defaults; three that every module has stand in a dictionary."""
    arguments = typed_constructors()[name].args
    positional = [argument.arg for argument in arguments.args[1:]]
    defaults = dict(zip(reversed(positional), map(ast.literal_eval, reversed(arguments.defaults)), strict=False))
    named = [argument.arg for argument in arguments.kwonlyargs]
    defaults |= dict(zip(named, (ast.literal_eval(value) for value in arguments.kw_defaults if value), strict=True))
    own = inspect.signature(getattr(roialign.torch, name)).parameters
    runs = [each for each in own.values() if each.name not in Everywhere.__annotations__]
    assert [*positional, *named] == [each.name for each in runs]
    assert defaults == {each.name: each.default for each in runs if each.default is not inspect.Parameter.empty}
    kinds = {each.name: each.kind for each in runs}
    assert [word for word, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY] == named
