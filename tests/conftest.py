"""Fixtures. Warnings are errors throughout: the setting is in pyproject.toml."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from roialign.numpy.backends import BACKENDS

# Triton reads this when kernels are defined. Where there is a GPU they are compiled for it: pytest -m gpu.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(params=list(BACKENDS["separable"]))
def backend_name(request: pytest.FixtureRequest) -> str:
    """Every backend by its name, to hand to the public functions."""
    return str(request.param)


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts the number of threads back after a test that sets it."""
    import roialign

    before = roialign.get_num_threads()
    yield
    roialign.set_num_threads(before)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Any]:
    """Triton's interpreter, quick, and with a look at every address that a kernel loads from or stores to."""
    from tests.triton.interpreter import checked, quick

    with quick(), checked() as bounds:
        yield bounds


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four scenes to test on, and a file of a detector's weights."""
    from tests.detection.detectors import write_detector, write_small_scenes

    folder = tmp_path_factory.mktemp("scenes")
    write_small_scenes(folder, 4)
    write_detector(folder)
    return folder
