"""The examples of the docstrings run, and every function that starts something has one."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from roialign import features, search

WITH_EXAMPLES = {"prepare", "run", "RayEngine", "FileBoxes", "GridBoxes", "make_backbone", "Encoder", "RegionIndex"}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in (features, search) for name in module.__all__]
)
def test_the_examples_of_docstrings_run(module: ModuleType, name: str) -> None:
    report: list[str] = []
    examples = 0
    for test in doctest.DocTestFinder(recurse=False).find(getattr(module, name), name, globs={}):
        examples += len(test.examples)
        doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)
    assert examples or name not in WITH_EXAMPLES
