"""The Python interpreters of this machine, and environments made with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def find_python(version: str) -> Path | None:
    """An interpreter of `version`, such as "3.12": the one that runs this, pyenv's newest, or the one on the path."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(sys.executable)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    pyenv = sorted(root.glob(f"versions/{version}.*/bin/python"), key=_release)
    on_path = shutil.which(f"python{version}")
    for candidate in [*reversed(pyenv), *([Path(on_path)] if on_path else [])]:
        if python_version(candidate) == version:
            return candidate
    return None


def _release(python: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in python.parts[-3].split(".") if part.isdecimal())


def python_version(python: Path) -> str:
    """Such as "3.12"; empty where it does not run, as do names that pyenv puts on the path for versions it lacks."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def make_environment(python: Path, folder: Path) -> Path:
    """An environment with nothing in it; gives its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


def pip_install(python: Path, *arguments: str | Path) -> None:
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "install", "-q", *arguments], check=True)
