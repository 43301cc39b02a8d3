"""docs/migrating.md: its examples run, and its names exist."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from tests.tables.paths import DOCS

PAGE = (DOCS / "migrating.md").read_text(encoding="utf-8")
#: Every block of Python; the ones that need torchvision are run by `make test-peers`.
BLOCKS = re.findall(r"(<!-- needs torchvision -->\n)?```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_examples_run_in_order() -> None:
    plain = [code for marked, code in BLOCKS if not marked]
    assert len(plain) == 10
    scope: dict[str, Any] = {}
    for code in plain:
        exec(compile(code, "docs/migrating.md", "exec"), scope)


def test_names_in_the_tables_exist() -> None:
    lines = re.findall(r"\| `from (roialign[\w.]*) import ([\w, ]+)` \|", PAGE)
    assert len(lines) == 27
    for module, names in lines:
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
    for module in ("torchvision", "detectron2", "mmcv", "onnx"):
        documented = {name for where, names in lines if where.endswith(module) for name in names.split(", ")}
        public = set(importlib.import_module(f"roialign.compat.{module}").__all__)
        mentioned = {name for name in public if f"`{name}()`" in PAGE or f"compat.{module}.{name}" in PAGE}
        assert public == documented | (mentioned & public) | ({"installed"} & public), module
