"""Fixtures of the tests of public functions."""

from __future__ import annotations

from typing import Any

import pytest

from roialign import _core


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of a plain function of the core was accepted."""
    calls: list[bool] = []
    for name in ("plain_forward", "plain_tensor_forward", "plain_tensor_adjoint_features"):
        real = getattr(_core, name)

        def spy(*arguments: Any, real: Any = real) -> Any:
            answer = real(*arguments)
            calls.append(answer is not None and answer is not False)
            return answer

        monkeypatch.setattr(_core, name, spy)
    return calls
