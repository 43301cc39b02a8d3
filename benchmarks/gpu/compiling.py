"""Measure the compilation of the kernels of first calls, for compute capability 9.0, without a GPU.

    python -m benchmarks.gpu compiling [--write-docs]

Times are CPU seconds of this process and of the assembler that it starts, with an empty cache.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..markdown import table, write_between
from ..pages import GPU
from .candidates import Entry, call_of

if TYPE_CHECKING:
    from .compiler import Launch

BEGIN, END = "<!-- compiling:begin -->", "<!-- compiling:end -->"
#: First calls in a process, in this order, and the table entry of each.
CALLS = {
    "forward": "FORWARD",
    "backward to features": "FEATURES",
    "backward to boxes": "BOXES",
    "rotated, forward": "POINTS_FORWARD",
    "rotated, backward to features": "POINTS_FEATURES",
    "rotated, backward to boxes": "POINTS_SUMS",
}


def first_calls() -> dict[str, list[Launch]]:
    """Return the kernels that each call compiles in addition to the earlier calls, for channels-last float16."""
    from .compiler import compiled_only

    found = {}
    for name, which in CALLS.items():
        call: Callable[[], Any] = call_of(Entry(which, True, 2), "box-test", "cpu")
        with compiled_only() as launches:
            call()
        found[name] = [one for one in launches if one.seconds >= 0.02]  # the others were in the cache
    return found


def render(found: dict[str, list[Launch]]) -> str:
    lines = []
    for name, launches in found.items():
        parts = ", ".join(f"{one.kernel} {one.seconds:.2f}" for one in launches)
        lines.append([name, str(len(launches)), f"{sum(one.seconds for one in launches):.1f}", parts])
    return table(["first call", "kernels compiled", "seconds", "seconds per kernel"], lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu compiling", description=__doc__)
    parser.add_argument("--write-docs", action="store_true", help="write the table of docs/performance/gpu.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update({"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": folder})
        text = render(first_calls())
    print(text)
    if options.write_docs:
        write_between(GPU, text + "\n", BEGIN, END)
    return 0
