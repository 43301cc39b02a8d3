"""Many Python threads at all that the process has once, in a process of its own: the first calls are part of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import roialign
from tests.tables.paths import ROOT


def test_threads_that_all_begin_at_once_get_the_same_bits() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(roialign.__file__).parents[1]), "OMP_NUM_THREADS": "3"}
    command = [sys.executable, str(ROOT / "release" / "stress.py"), "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0
