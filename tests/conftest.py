"""Fixtures. Warnings are errors throughout: the setting is in pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roialign._dispatch import BACKENDS


@pytest.fixture(params=list(BACKENDS))
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
