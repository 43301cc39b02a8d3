"""What tests/conftest.py gives the core's tests, without torch; and an interpreter that this CPU can start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

import roialign

sys.executable = os.environ["ROIALIGN_TESTED_PYTHON"]


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts the number of threads back after a test that sets it."""
    before = roialign.get_num_threads()
    yield
    roialign.set_num_threads(before)
