"""Photographs that the tests of jobs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.features.photographs import write_photographs


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photographs(folder)
    return folder


@pytest.fixture
def images(photos: Path) -> list[Path]:
    return sorted(photos.glob("*.jpg"))
