"""The site that `make docs` builds: it has every page and every public name. Sphinx is not needed to see that."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import jax
import numpy as np
import pytest
import torch

import roialign.compat
from release.links import LINK, pages
from tests.tables.paths import DOCS, ROOT

PUBLIC = [
    "roialign",
    "roialign.torch",
    "roialign.detection",
    "roialign.features",
    "roialign.search",
    *(f"roialign.compat.{name}" for _, name, _ in pkgutil.iter_modules(roialign.compat.__path__) if name[0] != "_"),
]
#: The projects whose classes annotations name.
PROJECTS = ("torch", "numpy")
#: A directive of MyST or of reStructuredText: its name, its argument, and the lines of its options and its body.
DIRECTIVE = re.compile(
    r"^```\{(?P<myst>[\w-]+)\} *(?P<file>.*)\n(?P<fenced>[^`]*?)^```$"
    r"|^\.\. (?P<rst>[\w-]+):: *(?P<argument>.*)\n(?P<indented>(?:\n|   .*\n)*)",
    re.MULTILINE,
)


def directives(page: Path) -> list[tuple[str, str, list[str]]]:
    """The directives of a page: name, argument, lines of options and body."""
    found = DIRECTIVE.finditer(page.read_text(encoding="utf-8"))
    parts = [
        [part or "" for part in match.group("myst", "rst", "file", "argument", "fenced", "indented")] for match in found
    ]
    return [
        (myst or rst, file or argument, [line.strip() for line in (fenced or indented).splitlines() if line.strip()])
        for myst, rst, file, argument, fenced, indented in parts
    ]


def site_pages() -> set[Path]:
    """The pages of the folder, without templates and those that Sphinx generates."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.md", "*.rst", ":(exclude)_templates"]
    listed = subprocess.run(command, cwd=DOCS, capture_output=True, text=True, check=True).stdout.split()
    return {DOCS / name for name in listed if (DOCS / name).exists()}


def below(page: Path) -> list[Path]:
    """The pages that the tables of contents of a page name."""
    entries = [
        page.parent / entry
        for name, _, lines in directives(page)
        if name == "toctree"
        for entry in lines
        if not entry.startswith(":")
    ]
    found = [[entry.with_name(entry.name + suffix) for suffix in (".md", ".rst")] for entry in entries]
    for entry, files in zip(entries, found, strict=True):
        assert any(file.exists() for file in files), f"{page.relative_to(ROOT)}: no page {entry.relative_to(DOCS)}"
    return [file for files in found for file in files if file.exists()]


def test_every_page_is_in_a_table_of_contents() -> None:
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        assert page not in reached, f"{page.relative_to(ROOT)} is in two tables of contents"
        reached.add(page)
        waiting += below(page)
    missing = sorted(str(page.relative_to(DOCS)) for page in site_pages() - reached)
    assert not missing, f"docs/index.md: add to a toctree: {', '.join(missing)}"
    assert len(reached) > 20


def documented() -> list[str]:
    """The full names of all that the reference describes."""
    names = []
    for page in sorted((DOCS / "reference").glob("*.rst")):
        module = ""
        for name, argument, lines in directives(page):
            if name == "currentmodule":
                module = argument
            elif name == "autodata":
                names.append(argument)
            elif name == "autosummary":
                names += [f"{module}.{line}" for line in lines if not line.startswith(":")]
    return names


def test_the_reference_describes_every_public_name() -> None:
    names = documented()
    assert len(names) == len(set(names)), "a name is described twice"
    public = {f"{module}.{name}" for module in PUBLIC for name in import_module(module).__all__}
    missing = sorted(public - set(names) - {"roialign.__version__"})
    assert not missing, f"docs/reference: add to an autosummary: {', '.join(missing)}"


def test_what_the_reference_describes_is_there() -> None:
    for name in documented():
        module, _, last = name.rpartition(".")
        assert hasattr(import_module(module), last), f"docs/reference: {name} does not exist"


def classes_in(annotation: Any) -> set[type]:
    """The classes in an annotation."""
    parts = [part for part in (get_origin(annotation), *get_args(annotation)) if part is not None]
    here = {annotation} if isinstance(annotation, type) and not parts else set()
    return here.union(*(classes_in(part) for part in parts))


def public_functions() -> Iterator[Callable[..., Any]]:
    """The functions that the reference shows, and the methods of its classes."""
    for name in documented():
        module, _, last = name.rpartition(".")
        value = getattr(import_module(module), last)
        members = [member for key, member in vars(value).items() if key[0] != "_"] if isinstance(value, type) else []
        yield from filter(inspect.isfunction, [value, *members])


def test_torch_and_numpy_document_the_classes_of_the_reference() -> None:
    """A name that leads nowhere is an error of `make docs`."""
    (table,) = re.findall(r"^PUBLIC = (\{.*?^\})", (DOCS / "references.py").read_text(encoding="utf-8"), re.M | re.S)
    inventories = "".join((DOCS / "inventories" / f"{name}.txt").read_text(encoding="utf-8") for name in PROJECTS)
    known, names = set(re.findall(r"^(\S+) class", inventories, re.M)), ast.literal_eval(table)
    only_for_checkers = {"Tensor": torch.Tensor, "torch": torch, "jax": jax, "np": np}
    hints = [get_type_hints(function, localns=only_for_checkers) for function in public_functions()]
    used = {cls for named in hints for annotation in named.values() for cls in classes_in(annotation)}
    paths = {f"{cls.__module__}.{cls.__qualname__}" for cls in used if cls.__module__.partition(".")[0] in PROJECTS}
    assert len(paths) > 5
    missing = sorted({names.get(path, path) for path in paths} - known)
    assert not missing, f"docs/references.py and docs/inventories: add {', '.join(missing)}"


@pytest.mark.parametrize("page", sorted(site_pages()), ids=lambda page: str(page.relative_to(DOCS)))
def test_what_a_page_includes_is_there(page: Path) -> None:
    for name, argument, lines in directives(page):
        if name != "include":
            continue
        text = (page.parent / argument).read_text(encoding="utf-8")
        for line in lines:
            marker = line.split('"')[1]
            before, found, after = text.partition(marker)
            assert found, f"{page.relative_to(ROOT)}: {argument} has no {marker!r}"
            text = after if line.startswith(":start-after:") else before
        assert text.strip(), f"{page.relative_to(ROOT)}: nothing of {argument} is included"


def test_every_picture_is_in_the_gallery() -> None:
    shown = set(LINK.findall((DOCS / "gallery.md").read_text(encoding="utf-8")))
    assert {picture.name for picture in DOCS.glob("*.png")} <= shown
    assert DOCS / "gallery.md" in pages()


#: A file or a folder of the repository in a page, perhaps with a pattern; and a name that a page says to be in a file.
PATH = re.compile(r"`((?:benchmarks|cpp|docs|examples|playground|release|src|tests)/[\w./*-]*)`")
NAME_IN_FILE = re.compile(r"`(\w+)`\s+in\s+`([\w./]+\.\w+)`")


@pytest.mark.parametrize("page", [page for page in pages() if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_the_files_that_a_page_names_are_in_the_repository(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        command = ["git", "ls-files", "-co", "--exclude-standard", "--", path.rstrip("/")]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert listed, f"{page.relative_to(ROOT)}: {path} is not in the repository"


def test_the_names_that_contributing_says_to_be_in_a_file_are_there() -> None:
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.py", "*.h", "*.cpp"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = NAME_IN_FILE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(found) > 20
    for name, path in found:  # the tables leave out the first folders
        texts = [(ROOT / file).read_text(encoding="utf-8") for file in files if f"/{file}".endswith(f"/{path}")]
        assert any(re.search(rf"\b{name}\b", text) for text in texts), f"CONTRIBUTING.md: {path} has no {name}"
