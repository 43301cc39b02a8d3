"""Scenes that the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.detection.small_training import write_training_scenes


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_training_scenes(folder)
    return folder
