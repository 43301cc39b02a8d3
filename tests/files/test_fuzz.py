"""Files that nobody would write: a few of them for every way in; `make fuzz` tries a hundred thousand."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.files.fuzz import TRIED, Fuzz, run
from tests.files.grammar import Draw


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pycocotools and Matplotlib about what is drawn
        yield Fuzz(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", TRIED)
def test_whatever_it_is_the_answer_is_one_of_ours(fuzz: Fuzz, name: str) -> None:
    """Drawn by hypothesis, which finds the least input that fails."""
    tried, _ = TRIED[name]

    @settings(
        max_examples=10 if name == "checkpoints" else 60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def try_one(source: random.Random) -> None:
        tried(fuzz, Draw(source))

    try_one()


def test_both_good_and_bad_files_are_among_them(tmp_path: Path) -> None:
    counts = run(tmp_path, range(400))
    assert min(counts["read"], counts["refused"]) > 100
    assert all(counts[name] for name in TRIED)


def test_a_traceback_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.files.fuzz.read_boxes", lambda *_: [][0])
    with pytest.raises(AssertionError, match=r"input \d+, box tables: IndexError"):
        run(tmp_path, range(100))
