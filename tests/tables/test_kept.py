"""Answers kept on disk: computed once, never believed when they are damaged or out of date."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.tables import answers, kept


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the one of this clone."""
    monkeypatch.setattr(kept, "FOLDER", tmp_path / "kept")
    return tmp_path / "kept"


class Computation:
    """Numbers, and how often they were asked for."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> list[np.ndarray]:
        self.count += 1
        return [np.linspace(0, 1, 1000), np.arange(3)]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_answer_is_computed_once(folder: Path) -> None:
    compute = Computation()
    for _ in range(3):
        first, second = kept.kept(answers.__name__, "a", compute)
        np.testing.assert_array_equal(first, np.linspace(0, 1, 1000), strict=True)
        np.testing.assert_array_equal(second, np.arange(3), strict=True)
    assert compute.count == 1
    kept.kept(answers.__name__, "b", compute)
    assert compute.count == 2
    assert len(files(folder)) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "a folder"])
def test_a_damaged_file_is_computed_anew(folder: Path, damage: str) -> None:
    compute = Computation()
    kept.kept(answers.__name__, "a", compute)
    (path,) = files(folder)
    content = path.read_bytes()
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-1], "changed": changed, "empty": b""}[damage])
    for _ in range(2):
        np.testing.assert_array_equal(kept.kept(answers.__name__, "a", compute)[0], np.linspace(0, 1, 1000))
    assert compute.count == (3 if damage == "a folder" else 2)  # which cannot be written to


def test_answers_of_other_sources_are_computed_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Computation()
    kept.kept(answers.__name__, "a", compute)
    before, *_ = files(folder)
    real = kept.sources
    monkeypatch.setattr(kept, "sources", lambda module: {**real(module), "tests.tables.cases": b"another table"})
    kept._version.cache_clear()
    try:
        kept.kept(answers.__name__, "a", compute)
    finally:
        kept._version.cache_clear()
    assert compute.count == 2
    assert len(files(folder)) == 1
    assert not before.exists()


def test_the_sources_are_those_that_answers_follow_from() -> None:
    found = kept.sources(answers.__name__)
    assert {"roialign.reference.pointwise", "roialign.reference.philox", "roialign._spec"} < set(found)
    assert {"tests.tables.cases", "tests.tables.pointwise_cases", "tests.tables.boxes"} < set(found)
    assert not {"roialign._core", "roialign._frameworks"} & set(found)
    assert found["tests.tables.answers"] == Path(answers.__file__).read_bytes()


def test_readers_and_writers_at_once_see_whole_answers(folder: Path) -> None:
    path = folder / "version" / "answer"
    numbers = [np.full(100_000, float(value)) for value in range(4)]
    kept.write(path, numbers[0])
    wrong: list[object] = []

    def rewrite(value: int) -> None:
        for _ in range(20):
            kept.write(path, numbers[value])

    writers = [threading.Thread(target=rewrite, args=(value,)) for value in range(1, 4)]
    for writer in writers:
        writer.start()
    for _ in range(50):
        seen = kept.read(path)
        if seen is None or (seen != seen[0]).any():
            wrong.append(seen)
    for writer in writers:
        writer.join()
    assert not wrong
    assert files(folder) == [path]
