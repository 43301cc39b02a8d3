"""Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def run_python(script: str, *, timeout: float = 120.0, **environment: str) -> str:
    """What a script prints; an AssertionError with its errors where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
