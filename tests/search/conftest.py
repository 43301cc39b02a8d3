"""Features that `roialign extract` has written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.invoked import invoke
from tests.features.photographs import write_photographs
from tests.search.words import OPTIONS, SEVERAL


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs, and the same mirrored."""
    folder = tmp_path_factory.mktemp("photos")
    write_photographs(folder, 12)
    return folder


@pytest.fixture(scope="package")
def features(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of a grid of each, in three shards, with an image that cannot be read."""
    out = tmp_path_factory.mktemp("features") / "features"
    broken = out.parent / "broken.jpg"
    broken.write_text("no image")
    options = ("--boxes", "grid:2x2", *OPTIONS, *SEVERAL, "--output-size", "vector", "--out", out)
    assert invoke("extract", photos, broken, *options).exit_code == 1
    return out
