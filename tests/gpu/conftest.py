"""Fixtures of a rehearsal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.gpu.device import IS_REHEARSAL

if IS_REHEARSAL:

    @pytest.fixture(autouse=True, scope="session")
    def quick_interpreter() -> Iterator[None]:
        """Triton's interpreter, three times as fast."""
        from tests.triton.interpreter import quick

        with quick():
            yield
