"""One version everywhere, and a changelog that says what is in it."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

import roialign
from release.versions import (
    CHANGELOG,
    PLACES,
    changelog_parts,
    changelog_problems,
    set_version,
    stated,
    version_problems,
)
from tests.tables.paths import ROOT

TODAY = datetime.date(2030, 1, 31)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that state the version, where they may be changed."""
    for name in (*PLACES, CHANGELOG):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / CHANGELOG).write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n\n- News.\n", encoding="utf-8")
    return tmp_path


def test_every_place_states_the_same_version() -> None:
    assert version_problems() == []
    assert set(stated().values()) == {roialign.__version__}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_states_another_is_found(copy: Path, name: str) -> None:
    set_version("1.2.3", copy, TODAY)
    assert version_problems(copy) == []
    path = copy / name
    path.write_text(path.read_text(encoding="utf-8").replace("1.2.3", "1.2.4"), encoding="utf-8")
    assert len(version_problems(copy)) >= 1


def test_a_new_version_takes_the_news_of_the_changelog(copy: Path) -> None:
    assert any("Unreleased" in problem for problem in changelog_problems(copy))
    set_version("1.2.3rc1", copy, TODAY)
    assert changelog_problems(copy) == []
    parts = changelog_parts((copy / CHANGELOG).read_text(encoding="utf-8"))
    assert list(parts) == ["Unreleased", "1.2.3rc1 - 2030-01-31"]
    assert parts["1.2.3rc1 - 2030-01-31"].strip() == "### Added\n\n- News."


@pytest.mark.parametrize("wrong", ["1.2", "v1.2.3", "1.2.3-rc1", "01.2.3", ""])
def test_what_is_no_version_is_refused_and_nothing_written(copy: Path, wrong: str) -> None:
    before = {name: (copy / name).read_bytes() for name in (*PLACES, CHANGELOG)}
    with pytest.raises(ValueError, match="expected a version such as"):
        set_version(wrong, copy, TODAY)
    assert {name: (copy / name).read_bytes() for name in before} == before


def test_nothing_new_is_nothing_to_release(copy: Path) -> None:
    set_version("1.2.3", copy, TODAY)
    with pytest.raises(ValueError, match="nothing to release"):
        set_version("1.2.4", copy, TODAY)
    assert set(stated(copy).values()) == {"1.2.3"}


def test_a_version_without_news_is_no_release(copy: Path) -> None:
    set_version("1.2.3", copy, TODAY)
    path = copy / CHANGELOG
    path.write_text(path.read_text(encoding="utf-8").replace("### Added\n\n- News.\n", ""), encoding="utf-8")
    assert changelog_problems(copy) == ["CHANGELOG.md: nothing stands under 1.2.3"]
