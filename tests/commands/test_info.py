"""`roialign info`: versions, threads and backends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import roialign
from tests.commands.invoked import invoke


def test_info_says_what_runs_here_and_why_the_rest_does_not() -> None:
    result = invoke("info")
    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.replace("backend ", "").splitlines() if " " in line)
    assert lines["roialign"].strip() == roialign.__version__
    assert lines["numpy"].strip() == np.__version__
    assert lines["threads"].strip() == str(roialign.get_num_threads())
    assert lines["isa"] in result.stdout
    assert lines["cpu"].strip() == "ready"
    assert lines["reference"].strip() == "ready"
    assert lines["triton"].startswith("ready") or lines["triton"].startswith("not ready: ")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, since the core reads the environment once."""
    variables = os.environ | environment | {"COLUMNS": "500", "PYTHONPATH": str(Path(roialign.__file__).parents[1])}
    command = [sys.executable, "-m", "roialign", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("isa", ["AVX2", "foo"])
def test_info_says_what_is_wrong_with_the_environment_in_its_place(isa: str) -> None:
    result = run("info", ROIALIGN_ISA=isa)
    assert (result.returncode, result.stderr) == (0, "")
    names = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert names == [line.split("  ")[0] for line in invoke("info").stdout.splitlines()]
    for name in ("isa  ", "backend cpu  "):
        line = next(line for line in result.stdout.splitlines() if line.startswith(name))
        assert "ROIALIGN_ISA: expected one of baseline" in line
        assert f"got '{isa}'" in line


@pytest.mark.parametrize("command", ["extract", "search", "scenes", "train", "evaluate", "detect", "export"])
def test_a_wrong_environment_ends_a_command_before_any_file_is_read(command: str) -> None:
    given = {
        "extract": ["README.md", "--boxes", "README.md"],
        "search": ["none", "--like", "none"],
        "scenes": ["README.md/none"],
        "train": ["--data", "none", "--out", "README.md"],
        "evaluate": ["--weights", "none", "--data", "none"],
        "detect": ["none", "--weights", "none", "--out", "README.md"],
        "export": ["--weights", "none", "--out", "none"],
    }
    result = run(command, *given[command], ROIALIGN_ISA="foo")
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ROIALIGN_ISA: expected one of baseline")


def test_help_needs_no_environment() -> None:
    assert run("extract", "--help", ROIALIGN_ISA="foo").returncode == 0


def test_a_wrong_number_of_bytes_ends_a_command_too() -> None:
    message = "ROIALIGN_KEPT_BYTES: expected a number of bytes, got 'x'"
    result = run("scenes", "README.md/none", ROIALIGN_KEPT_BYTES="x")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"error: {message}\n")
    for command, code in (("info", 0), ("doctor", 1)):
        result = run(command, ROIALIGN_KEPT_BYTES="x")
        assert (result.returncode, result.stderr) == (code, "")
        assert message in result.stdout
        assert "is set" not in result.stdout.replace("OMP_NUM_THREADS=1 is set", "")
    assert run("extract", "--help", ROIALIGN_KEPT_BYTES="x").returncode == 0
