"""What CMake says before it compiles anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tables.paths import ROOT

CMAKE = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])) or ""
COMPILER = shutil.which("c++") or ""


@pytest.mark.skipif(not (CMAKE and COMPILER), reason="needs CMake and a compiler")
def test_a_compiler_that_is_too_old_is_named(tmp_path: Path) -> None:
    """Not by errors in the core, minutes later: here this machine's compiler, without the function that is newest."""
    compiler = tmp_path / "c++"
    compiler.write_text(f'#!/bin/sh\nexec "{COMPILER}" -D__builtin_shufflevector=missing "$@"\n')
    compiler.chmod(0o755)
    options = ["-DROIALIGN_PYTHON=OFF", f"-DCMAKE_CXX_COMPILER={compiler}"]
    command = [CMAKE, "-S", str(ROOT), "-B", str(tmp_path / "build"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "roialign needs GCC 12 or Clang 15 or newer" in " ".join(done.stderr.split()), done.stderr
