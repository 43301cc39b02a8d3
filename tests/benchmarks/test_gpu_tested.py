"""Tests as jobs of a run on a GPU: what becomes of them, and what a worker of tests imports."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from benchmarks.gpu.record import Results
from benchmarks.gpu.steps import Step
from tests.benchmarks.test_gpu_run import outcomes, results_of


def found_in(folder: Path) -> Results:
    """What a step finds that runs the tests of a file."""
    return results_of(Step("tests", "first", "nothing", ("tests", str(folder / "test_jobs.py")), 60, 30), folder)


def test_tests_are_jobs(tmp_path: Path) -> None:
    """What fails says why, and what is skipped too; of a fixture as of a test."""
    (tmp_path / "test_jobs.py").write_text(
        """
import pytest, warnings

pytestmark = pytest.mark.gpu

@pytest.fixture
def bad():
    raise ValueError("a bad fixture")

def test_right():
    warnings.warn("another version")
    print('{"a": "word"}')

def test_wrong():
    assert 1 == 2, "one is not two"

def test_without(bad):
    pass

@pytest.mark.skip(reason="not today")
def test_skipped():
    pass
"""
    )
    found = found_in(tmp_path)
    named = {name.split("::")[1]: item for name, item in found.items.items()}
    assert [item.outcome for item in named.values()] == ["passed", "failed", "failed", "skipped"]
    assert "one is not two" in named["test_wrong"].notes[0]
    assert "a bad fixture" in named["test_without"].notes[0]
    assert "not today" in named["test_skipped"].notes[0]
    assert "test_wrong" in (tmp_path / "gpu.log").read_text()


def test_the_end_of_a_worker_of_tests_imports_no_hypothesis(tmp_path: Path) -> None:
    """Its plugin would import it at the end, which takes up to 30 seconds on a slow machine."""
    (tmp_path / "test_jobs.py").write_text(
        """
import atexit, pathlib, sys
import pytest

def write_modules():
    pathlib.Path(__file__).with_name("modules").write_text("\\n".join(sys.modules))

@pytest.mark.gpu
def test_right():
    atexit.register(write_modules)
"""
    )
    found = found_in(tmp_path)
    assert list(outcomes(found).values()) == ["passed"]
    modules = (tmp_path / "modules").read_text().splitlines()
    assert "pytest" in modules
    assert "hypothesis" not in modules


def test_tests_with_hypothesis_are_jobs(tmp_path: Path) -> None:
    (tmp_path / "test_jobs.py").write_text(
        """
import pytest
from hypothesis import given, settings, strategies

pytestmark = pytest.mark.gpu
seen = set()

@settings(database=None)
@given(number=strategies.integers(0, 3))
def test_right(number):
    seen.add(number)

@pytest.mark.parametrize("limit", [2])
@settings(database=None)
@given(number=strategies.integers(0, 3))
def test_wrong(number, limit):
    assert len(seen) > 1, "no examples"
    assert number < limit, f"{number} is not below {limit}"
"""
    )
    found = found_in(tmp_path)
    right, wrong = found.items.values()
    assert (right.outcome, wrong.outcome) == ("passed", "failed")
    assert "2 is not below 2" in wrong.notes[0]


def test_tests_that_cannot_be_collected_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "test_jobs.py").write_text("import no_such_module")
    found = found_in(tmp_path)
    assert found.left() is None
    assert "ended with code" in str(found.problem)
