"""Answers that take a while to compute, kept on disk from one process and one run of the tests to the next.

They lie in pytest's own cache folder, which git ignores and `pytest --cache-clear` empties, under a hash of the source
files that they follow from. Every file is written under another name and then moved into place, and begins with a hash
of its contents: a reader sees all of it, or computes the answer itself.
"""

from __future__ import annotations

import ast
import os
import pickle
import platform
import shutil
import sys
import threading
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.util import resolve_name
from pathlib import Path
from typing import TypeVar

import numpy as np

from tests.tables.paths import ROOT

Answer = TypeVar("Answer")

FOLDER = ROOT / ".pytest_cache" / "d" / "reference_answers"


def kept(module: str, name: str, compute: Callable[[], Answer]) -> Answer:
    """The answer of that name, computed where it is not on disk; it follows from `module` and all that it imports."""
    path = FOLDER / _version(module) / sha256(name.encode()).hexdigest()
    answer = read(path)
    if answer is None:
        answer = compute()
        write(path, answer)
    return answer


def read(path: Path) -> Answer | None:
    """What :func:`write` has written there; None where there is nothing, or anything else."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, body = content[:32], content[32:]
    return pickle.loads(body) if sha256(body).digest() == digest else None


def write(path: Path, answer: Answer) -> None:
    """Put an answer in its place in one step. Where it cannot be written, the next process computes it again."""
    body = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
    try:
        if not path.parent.exists():
            shutil.rmtree(FOLDER, ignore_errors=True)  # answers of other sources
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        temporary.write_bytes(sha256(body).digest() + body)
        temporary.replace(path)
    except OSError:
        return


@cache
def _version(module: str) -> str:
    """A hash of the sources of a loaded module and of all that it imports here, and of what else decides on numbers."""
    digest = sha256(repr((np.__version__, sys.version, platform.machine())).encode())
    for name, source in sorted(sources(module).items()):
        digest.update(f"{name} {len(source)} ".encode() + source)
    return digest.hexdigest()


def sources(module: str) -> dict[str, bytes]:
    """By name, the source files of a loaded module and of all modules of this project that it imports."""
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        loaded = sys.modules.get(name)
        path = getattr(loaded, "__file__", None)
        if name in found or path is None or name.partition(".")[0] not in ("roialign", "tests"):
            continue
        found[name] = Path(path).read_bytes()
        if path.endswith(".py"):
            waiting += _imports(found[name], loaded.__package__)
    return found


def _imports(source: bytes, package: str) -> list[str]:
    """All that may be a module in the import statements of a file."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names
