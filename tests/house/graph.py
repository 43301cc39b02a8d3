"""Who imports whom: the package's modules and the core's headers, read as text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

#: The one table that loads a framework late, and what it loads.
LATE = {"roialign._frameworks": {"roialign.torch"}}


class Import(NamedTuple):
    importer: str
    imported: str
    """A module."""
    name: str
    """What is taken from it; empty where it is the module."""


def imports_of(source: Path) -> list[Import]:
    """Every import between the modules of the package below `source`, those inside functions too."""
    modules = {_name_of(path, source): path for path in source.rglob("*.py*") if path.suffix in (".py", ".pyi")}
    return [found for name, path in modules.items() for found in _imports_of(name, path, modules)]


def _name_of(path: Path, source: Path) -> str:
    parts = path.relative_to(source.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports_of(module: str, path: Path, modules: dict[str, Path]) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, "") for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{base}.{alias.name}" in modules:
                    yield Import(module, f"{base}.{alias.name}", "")
                elif base in modules:
                    yield Import(module, base, alias.name)


def includes_of(folder: Path) -> dict[str, set[str]]:
    """Every header that a file of the core includes, by the path from `folder`; a unit goes with its header."""
    found: dict[str, set[str]] = {}
    for path in sorted([*folder.rglob("*.h"), *folder.rglob("*.cpp")]):
        text = path.read_text(encoding="utf-8")
        own = path.relative_to(folder).as_posix()
        headers = {_header(path, name, folder) for name in re.findall(r'^#include "([^"]+)"', text, re.MULTILINE)}
        found[own] = headers - {own}
    return found


def _header(path: Path, name: str, folder: Path) -> str:
    beside = path.parent / name
    return (beside if beside.exists() else folder / name).resolve().relative_to(folder.resolve()).as_posix()


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The members of one circle, the first again at the end; none where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(member) for member in error.args[1]]
    return []


def module_graph(imports: list[Import]) -> dict[str, set[str]]:
    """By module, those that it imports, but for what the table of frameworks loads late."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.imported not in LATE.get(found.importer, set()):
            graph.setdefault(found.importer, set()).add(found.imported)
    return graph
