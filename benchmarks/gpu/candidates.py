"""Find block sizes and numbers of warps that may be better than those of the table, by compiling them.

    python -m benchmarks.gpu candidates [--tables FORWARD,BOXES] [--write]

compiles all candidates for compute capability 9.0, which needs no GPU, and drops those that cannot be good. It writes
the others to candidates.json, for `python -m benchmarks.gpu tune`, and a table to docs/performance/gpu-predictions.md.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import torch

import roialign
from roialign.torch.triton import replay
from roialign.triton import launch

from ..markdown import table, write_between
from ..pages import GPU_PREDICTIONS
from .calls import Inputs
from .device import workload_of

if TYPE_CHECKING:
    from .compiler import Launch

FILE = Path(__file__).with_name("candidates.json")
BEGIN, END = "<!-- candidates:begin -->", "<!-- candidates:end -->"
DTYPES = {2: torch.float16, 4: torch.float32}
#: Number of candidates to keep for each entry, besides the current one. Their estimates must be within this factor of
#: the best one's.
MOST, NEAR = 5, 1.5
#: Smallest number of warps per multiprocessor (64 at most). A larger stack per thread means spilled registers.
FEWEST_WARPS, MOST_STACK = 8, 64


class Entry(NamedTuple):
    """One entry of the table in sizes.json."""

    table: str
    channels_last: bool
    element: int
    """In bytes."""

    @property
    def layout(self) -> str:
        return "NHWC" if self.channels_last else "NCHW"

    @property
    def name(self) -> str:
        return f"{self.table} {self.layout} {self.element}"

    @property
    def present(self) -> tuple[int, ...]:
        return tuple(getattr(launch, self.table)[self.channels_last][self.element])


#: For each table: its kernel, and the depth of the loop in which it spends its time.
KERNELS = {
    "FORWARD": "forward",
    "BOXES": "adjoint_boxes",
    "FEATURES": "adjoint_features",
    "POINTS_FORWARD": "mean",
    "POINTS_SUMS": "mean_sums",
    "POINTS_FEATURES": "adjoint_points",
    "POINTS_FEATURES_MAX": "adjoint_points",
    "POINTS_FEATURES_POSITION": "adjoint_points",
}
#: For each table of the pointwise family: the operators of points.py whose speed depends on it.
OPERATORS = {
    "POINTS_FORWARD": ("roi_align_rotated", "roi_pool"),
    "POINTS_SUMS": ("roi_align_rotated",),
    "POINTS_FEATURES": ("roi_align_rotated",),
    "POINTS_FEATURES_MAX": ("roi_pool",),
    "POINTS_FEATURES_POSITION": ("ps_roi_align",),
}


def entries(tables: Sequence[str] = tuple(KERNELS)) -> list[Entry]:
    return [Entry(*which) for which in product(tables, (True, False), DTYPES)]


def candidates_of(entry: Entry) -> Iterator[tuple[int, ...]]:
    """Return the candidates, the current one first. A thread has 8 to 32 values of a tile, or 4 to 32 of a block, for
    which several sums or the coordinates of a point also need registers."""
    yield entry.present
    if entry.table == "FEATURES":
        # A thread has all pixels of a tile, or for planar maps with fewer channels than threads, some of each row.
        wide = [(4, 8), (8, 8), (2, 16), (4, 16), (8, 16), (4, 32)]
        shapes = [(4, 4), (4, 8), (8, 4), (8, 8)] if entry.channels_last else wide
        channels = (32, 64, 128) if entry.channels_last else (8, 16, 32)
        found: Any = ((*shape, count, 1) for shape, count in product(shapes, channels))
        fewest, most = 16, 64
    elif entry.table.startswith("POINTS_FEATURES"):
        is_narrow = entry.table == "POINTS_FEATURES_POSITION"  # ten channels per bin
        shapes = [(4, 8), (8, 8), (8, 16)] if is_narrow else [(4, 4), (2, 4), (4, 8)]
        found = ((*shape, count, 1) for shape, count in product(shapes, (16,) if is_narrow else (32, 64, 128)))
        fewest, most = 8, 64
    elif entry.table == "FORWARD":  # rows of bins
        rows, channels = ((1, 2, 4), (32, 64)) if entry.channels_last else ((4, 8, 16), (8, 16, 32))
        found = product(rows, channels, (1,))
        fewest, most = 1, 16
    else:
        is_points = entry.table.startswith("POINTS")
        if entry.channels_last:
            bins, channels = ((8, 16), (32, 64)) if is_points else ((16, 32, 64), (32, 64))
        else:
            bins, channels = ((32, 64), (8,)) if is_points else ((16, 32, 64), (8, 16, 32))
        found = product(bins, channels, (1, 2, 4))
        fewest, most = 4, 32
    for numbers in found:
        block, warps = numbers[:-1], numbers[-1]
        size = 1
        for side in block:
            size *= side
        if fewest <= size / (32 * warps) <= most and numbers != entry.present:
            yield numbers


@contextmanager
def in_table(entry: Entry, numbers: tuple[int, ...]) -> Iterator[None]:
    """Use these numbers for an entry inside the context."""
    sizes = getattr(launch, entry.table)[entry.channels_last]
    kind = launch.Tiling if "FEATURES" in entry.table else launch.Contraction
    with patch.dict(sizes, {entry.element: kind(*numbers)}):
        replay.forget()
        yield
    replay.forget()


def call_of(entry: Entry, workload: str, device: str) -> Callable[[], Any]:
    """Return a call whose speed depends on the entry."""
    if entry.table.startswith("POINTS"):
        return points_call(entry, workload, device)
    inputs = inputs_of(workload, entry.element, entry.channels_last, device)
    more: dict[str, Any] = {"spatial_scales": inputs.scales, "sampling_ratio": 2, "levels": inputs.levels}
    more |= {"invalid": "zero", "backend": "triton"}
    if entry.table == "FORWARD":
        return lambda: roialign.multiscale_roi_align(inputs.maps[0], inputs.rois, inputs.bins, **more)
    need = ("rois",) if entry.table == "BOXES" else ("features",)
    return lambda: roialign.multiscale_roi_align_backward(
        inputs.gradients[0], inputs.maps[0], inputs.rois, need=need, **more
    )


@lru_cache(maxsize=16)  # all workloads, types and layouts of the tuner
def inputs_of(workload: str, element: int, channels_last: bool, device: str) -> Inputs:
    return Inputs(workload_of(workload), DTYPES[element], channels_last, sets=1, device=device)


def points_call(entry: Entry, workload: str, device: str) -> Callable[[], Any]:
    """Return a call of an operator of the pointwise family, the first one of the entry if it is another workload."""
    from . import points
    from .points import BINS, SCALE, scene

    names = OPERATORS[entry.table]
    operator = next(one for one in points.OPERATORS if one.name == (workload if workload in names else names[0]))
    features, boxes, turned = scene(operator, device, DTYPES[entry.element], entry.layout)
    more: dict[str, Any] = {"backend": "triton"}
    if entry.table == "POINTS_FORWARD":
        if operator.name == "roi_pool":
            return lambda: roialign.roi_pool(features, boxes, BINS, SCALE, **more)
        return lambda: roialign.roi_align_rotated(features, turned, BINS, SCALE, 2, **more)
    shape = (len(turned), operator.output_elements(1) // BINS**2, BINS, BINS)
    layout = torch.channels_last if entry.channels_last else torch.contiguous_format
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(features)
    gradient = gradient.contiguous(memory_format=layout)
    if operator.name == "roi_pool":
        return lambda: roialign.roi_pool_backward(gradient, features, boxes, SCALE, **more)
    need = ("rois",) if entry.table == "POINTS_SUMS" else ("features",)
    if operator.name == "ps_roi_align":
        return lambda: roialign.ps_roi_align_backward(gradient, features, boxes, SCALE, 2, need=need, **more)
    return lambda: roialign.roi_align_rotated_backward(gradient, features, turned, SCALE, 2, need=need, **more)


@dataclass(frozen=True)
class Compiled:
    """A compiled candidate."""

    entry: Entry
    numbers: tuple[int, ...]
    registers: int
    stack: int
    shared: int
    warps_at_once: int
    """Warps per multiprocessor."""
    turn: float
    """Instructions per thread in the innermost loop, for each useful value of the block."""

    @property
    def estimate(self) -> float:
        """The sort key: these instructions, increased if there are too few warps to hide the memory latency."""
        return self.turn * max(1.0, 16 / max(self.warps_at_once, 1)) ** 0.5

    @property
    def why_not(self) -> str | None:
        """The reason to reject it, or None."""
        if self.stack > MOST_STACK:
            return "registers spill"
        if self.warps_at_once < FEWEST_WARPS:
            return "too few warps"
        return None


def compiled(entry: Entry, numbers: tuple[int, ...]) -> Compiled:
    from .compiler import compiled_only

    with in_table(entry, numbers), compiled_only() as launches:
        call_of(entry, "box-test", "cpu")()
    one: Launch = next(found for found in launches if found.kernel == KERNELS[entry.table])
    turn = 32 * one.warps * one.code.innermost().instructions / used(entry, numbers)
    at_once = one.programs_at_once * one.warps
    return Compiled(entry, numbers, one.registers, one.stack, one.shared, at_once, turn)


def used(entry: Entry, numbers: tuple[int, ...]) -> float:
    """Return the number of useful values of a block, on average over the blocks of 49 bins or over a tile."""
    if "FEATURES" in entry.table:
        rows, columns, channels, _ = numbers
        return float(rows * columns * channels)
    bins, channels, _ = numbers
    if entry.table == "FORWARD":  # of two rows of pixels, in a row of seven bins
        return 2 * 7 * channels * (2 if entry.channels_last else 1)
    return 49 / -(-49 // min(bins, 64)) * channels


def kept_of(found: Sequence[Compiled]) -> list[Compiled]:
    """Return the current candidate and the best of those that were not rejected."""
    present, *others = found
    good = sorted((one for one in others if one.why_not is None), key=lambda one: one.estimate)
    best = min((one.estimate for one in [present, *good]), default=0.0)
    return [present, *[one for one in good if one.estimate <= NEAR * best][:MOST]]


def render(kept: Mapping[str, Any]) -> str:
    """Format the file as a table."""
    titles = ["table", "layout, bytes", "tried", "kept", "registers, stack, shared", "warps", "instructions"]
    lines = []
    for name, own in kept.items():
        which, layout, element = name.split()
        first = [which, f"{layout}, {element}", str(own["tried"])]
        for one in own["kept"]:
            facts = f"{one['registers']}, {one['stack']}, {one['shared']}"
            numbers = " x ".join(map(str, one["numbers"]))
            lines.append([*first, numbers, facts, str(one["warps_at_once"]), f"{one['turn']:.1f}"])
            first = ["", "", ""]
    return table(titles, lines)


def facts_of(found: Sequence[Compiled]) -> dict[str, Any]:
    """Return the file's content for an entry."""
    names = ("numbers", "registers", "stack", "shared", "warps_at_once", "turn")
    kept = [{name: getattr(one, name) for name in names} for one in kept_of(found)]
    return {"tried": len(found), "kept": [one | {"turn": round(one["turn"], 2)} for one in kept]}


def in_file() -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return raw


def kept_in_file() -> dict[str, list[tuple[int, ...]]]:
    """Return the candidates by the name of their entry."""
    return {name: [tuple(one["numbers"]) for one in own["kept"]] for name, own in in_file().items()}


def text_of(kept: Mapping[str, Any]) -> str:
    """Return the text of the file, one line per candidate, in the order of the table."""
    names = [entry.name for entry in entries() if entry.name in kept]
    parts = []
    for name in names:
        lines = ",\n".join(f"   {json.dumps(one)}" for one in kept[name]["kept"])
        parts.append(f' "{name}": {{"tried": {kept[name]["tried"]}, "kept": [\n{lines}\n ]}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu candidates", description=__doc__)
    parser.add_argument("--tables", default=",".join(KERNELS), help="table names, separated by commas; '' for none")
    parser.add_argument("--write", action="store_true", help="write candidates.json and the page")
    options = parser.parse_args(arguments)
    tables = [name for name in options.tables.split(",") if name]
    unknown = set(tables) - set(KERNELS)
    if unknown:
        parser.error(f"--tables: expected names among {', '.join(KERNELS)}, got {', '.join(sorted(unknown))}")
    os.environ["TRITON_INTERPRET"] = "0"
    found = {}
    for entry in entries(tables):
        found[entry.name] = facts_of([compiled(entry, numbers) for numbers in candidates_of(entry)])
        print(f"{entry.name}: {found[entry.name]['tried']} compiled", flush=True)
    print(render(found))
    if options.write:
        FILE.write_text(text_of(in_file() | found))
        write_between(GPU_PREDICTIONS, render(in_file()) + "\n", BEGIN, END)
    return 0
