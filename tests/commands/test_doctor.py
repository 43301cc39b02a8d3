"""`roialign doctor`: what it finds in a healthy installation, and in ones that lack or break something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import roialign
from tests.commands.invoked import invoke

PACKAGE = Path(roialign.__file__).parent


def doctor(folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with `folder` before all other places of modules."""
    path = [str(folder)] if folder else []
    variables = os.environ | environment | {"PYTHONPATH": os.pathsep.join([*path, str(PACKAGE.parent)])}
    command = [sys.executable, "-m", "roialign", "doctor"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_a_healthy_installation() -> None:
    result = invoke("doctor")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"roialign {roialign.__version__}, Python ")
    assert "ok       RoIAlign of a ramp has the correct mean" in lines
    assert any(line.startswith("ok       torch ") for line in lines)
    assert not [line for line in lines if line.startswith("broken")]


def without(folder: Path, *modules: str) -> Path:
    """Modules of these names, which say that they are not installed."""
    for module in modules:
        (folder / f"{module}.py").write_text(
            f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')\n"
        )
    return folder


def test_it_runs_where_the_command_line_is_not_installed(tmp_path: Path) -> None:
    result = doctor(without(tmp_path, "typer"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "ok       RoIAlign of a ramp" in result.stdout


def test_a_torch_that_does_not_load_is_broken(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')\n")
    result = doctor(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "broken   import of torch: OSError: libtorch_cpu.so: cannot open" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Something is broken")


def test_an_instruction_set_that_is_not_there_is_broken_and_a_lesser_one_slow() -> None:
    result = doctor(ROIALIGN_ISA="mmx")
    assert result.returncode == 1
    assert "broken   the compiled core: ROIALIGN_ISA: expected one of baseline" in result.stdout
    if roialign.build_info()["isa_supported"] != ["baseline"]:
        result = doctor(ROIALIGN_ISA="baseline")
        assert result.returncode == 0
        assert "slow     instruction set baseline, but this CPU supports" in result.stdout


def test_a_package_without_its_core_says_how_to_get_it(tmp_path: Path) -> None:
    folder = tmp_path / "roialign"
    folder.mkdir()
    for path in PACKAGE.iterdir():
        if not path.name.startswith("_core."):
            (folder / path.name).symlink_to(path)
    variables = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "roialign", "doctor"]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"broken   the compiled core in {folder}: " in result.stdout
    assert "-m pip install --force-reinstall --no-deps roialign" in result.stdout


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "ROIALIGN_KEPT_BYTES"])
def test_settings_that_change_the_speed_are_said(name: str) -> None:
    assert f"ok       {name}=1 is set" in doctor(**{name: "1"}).stdout
