"""Packages that are not installed are named, and none is loaded before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tables.paths import BOXES, PHOTOGRAPH


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        (("typer",), "typer, which is not installed: pip install 'typer>=0.19'"),
        (("rich", "PIL"), "rich and pillow, which are not installed: pip install 'rich>=13' 'pillow>=10.1'"),
    ],
)
def test_missing_packages_are_one_clear_line(missing: tuple[str, ...], text: str) -> None:
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({missing})); from roialign.commands.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script, "info"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (done.stdout, done.stderr) == ("", f"error: the command line needs {text}\n")


def test_a_missing_matplotlib_is_said_before_the_work_and_only_where_it_is_needed(tmp_path: Path) -> None:
    script = "import sys; sys.modules['matplotlib'] = None; from roialign.commands.main import main; main()"
    arguments = ["extract", str(PHOTOGRAPH), "--boxes", str(BOXES), "--out", str(tmp_path / "f.npz")]
    for more, code, message in (
        (
            ["--plot", str(tmp_path / "p.png")],
            1,
            "error: the command line needs matplotlib, which is not installed: pip install 'matplotlib>=3.9'",
        ),
        ([], 0, ""),
    ):
        words = [sys.executable, "-c", script, *arguments, *more]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith(message)
        assert (tmp_path / "f.npz").exists() == (code == 0)


@pytest.mark.parametrize(
    ("modules", "loaded"),
    [("roialign, roialign.commands.main", []), ("roialign.commands.app", ["typer", "rich", "PIL", "roialign.extract"])],
)
def test_the_library_does_not_load_the_command_line(modules: str, loaded: list[str]) -> None:
    names = ("typer", "rich", "PIL", "roialign.extract", "matplotlib")
    script = f"import json, sys, {modules}; print(json.dumps([name for name in {names} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == loaded


def _roialign(*arguments: str, missing: str | None = None) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.modules[{missing!r}] = None; " if missing else ""
    script += "from roialign.commands.main import main; main()"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("missing", "requirement"),
    [("torch", "torch>=2.11"), ("pycocotools", "pycocotools>=2.0.8"), ("sklearn", "scikit-learn>=1.4")],
)
def test_a_missing_extra_is_one_clear_line(tmp_path: Path, missing: str, requirement: str) -> None:
    done = _roialign("scenes", str(tmp_path / "s"), missing=missing)
    name = requirement.partition(">")[0]
    line = f"error: roialign.detection needs {name}, which is not installed: pip install '{requirement}'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_the_other_commands_start_without_torch() -> None:
    assert _roialign("info", missing="sklearn").returncode == 0
    script = (
        "import sys; from roialign.commands.app import app; "
        "assert not {'torch', 'sklearn', 'pycocotools'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
