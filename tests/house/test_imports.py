"""The house has floors: imports go down only, and no circle comes back up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.graph import LATE, circle_in, imports_of, includes_of, module_graph
from tests.tables.paths import ROOT

SOURCE, CORE = ROOT / "src" / "roialign", ROOT / "cpp"

#: From the top down: a module imports from its own floor and those below. Longer names come before shorter ones.
FLOORS = (
    ("roialign.commands", "roialign.__main__"),
    ("roialign.extract", "roialign.detection", "roialign.features", "roialign.search"),
    ("roialign.files",),
    ("roialign.compat",),
    ("roialign.torch.modules",),
    ("roialign.ops", "roialign._runtime", "roialign._moved"),
    ("roialign._frameworks",),
    ("roialign.numpy", "roialign.torch", "roialign.jax"),
    ("roialign.reference", "roialign.triton"),
)
#: What every floor may use; none of it uses a floor.
CELLAR = (
    "roialign._array_checks",
    "roialign._core",
    "roialign._core_rotated",
    "roialign._core_specs",
    "roialign._derivatives",
    "roialign._docstrings",
    "roialign._extras",
    "roialign._forks",
    "roialign._levels",
    "roialign._memory",
    "roialign._options",
    "roialign._plans",
    "roialign._pooling_rules",
    "roialign._recording",
    "roialign._regions",
    "roialign._rotated_boxes",
    "roialign._rows",
    "roialign._signals",
    "roialign._spec",
    "roialign._text",
    "roialign._typing",
    "roialign._validate",
    "roialign._version",
    "roialign._warnings",
)
#: The package itself re-exports: it stands above `ops`, and users of it are above it.
FACADES = {"roialign": 4.5, "roialign.torch": 3.5}


def floor_of(module: str) -> float:
    """0 is the top."""
    if module in FACADES:
        return FACADES[module]
    if module in CELLAR:
        return len(FLOORS)
    names = [(name, index) for index, floor in enumerate(FLOORS) for name in floor]
    for name, index in sorted(names, key=lambda pair: -len(pair[0])):
        if module == name or module.startswith(f"{name}."):
            return index
    raise AssertionError(f"{module} has no floor: say in tests/house/test_imports.py where it belongs")


def test_no_circle_of_imports() -> None:
    assert circle_in(module_graph(imports_of(SOURCE))) == []


def test_only_the_tables_load_by_name() -> None:
    """`import_module` hides what it imports from every reader."""
    files = [path for path in SOURCE.rglob("*.py") if "import_module(" in path.read_text(encoding="utf-8")]
    assert {path.relative_to(SOURCE).as_posix() for path in files} == {
        "_moved.py",
        "commands/readiness.py",  # asks every backend whether it loads
        "compat/_torchvision_install.py",  # a package that is not ours
        "numpy/backends.py",
        "torch/backends.py",
    }


def test_no_circle_of_includes() -> None:
    assert circle_in(includes_of(CORE)) == []


def test_imports_go_down_only() -> None:
    up = [
        f"{found.importer} imports {found.imported}"
        for found in imports_of(SOURCE)
        if floor_of(found.imported) < floor_of(found.importer) and found.imported not in LATE.get(found.importer, set())
    ]
    assert up == []


def test_a_framework_knows_no_other() -> None:
    frameworks = ("roialign.numpy", "roialign.torch", "roialign.jax")
    across = [
        f"{found.importer} imports {found.imported}"
        for found in imports_of(SOURCE)
        for own in frameworks
        for other in frameworks
        if own != other and f"{found.importer}.".startswith(f"{own}.") and f"{found.imported}.".startswith(f"{other}.")
    ]
    assert across == []


def test_nobody_takes_a_neighbours_private_names() -> None:
    taken = [
        f"{found.importer} takes {found.imported}.{found.name}"
        for found in imports_of(SOURCE)
        if found.name.startswith("_") and not found.name.startswith("__")
    ]
    assert taken == []


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"a": "from . import b", "b": "def late():\n    from .a import name"}, {"house.a", "house.b"}),
        (
            {"a": "from .b import c", "b": "import house.c", "c": "from house import a"},
            {"house.a", "house.b", "house.c"},
        ),
        ({"a": "from . import b", "b": "", "c": "from .a import name"}, set()),
    ],
)
def test_a_circle_is_found(files: dict[str, str], circle: set[str], tmp_path: Path) -> None:
    folder = tmp_path / "house"
    folder.mkdir()
    for name, text in {"__init__": "", **files}.items():
        (folder / f"{name}.py").write_text(text)
    assert set(circle_in(module_graph(imports_of(folder)))) == circle


def test_a_circle_of_headers_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text('#include "steps/b.h"\n')
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "b.h").write_text('#include <vector>\n#include "a.h"\n')
    assert set(circle_in(includes_of(tmp_path))) == {"a.h", "steps/b.h"}
