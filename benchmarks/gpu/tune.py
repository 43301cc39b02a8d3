"""Find the best block sizes and numbers of warps on this machine's GPU, and write them to the kernels' table.

    python -m benchmarks.gpu tune [--results gpu-results] [--minutes 2] [--write] [--rehearse]

tries the candidates in `candidates.json`. It first compares the output of each with the current output, in one process
per core, because compilation takes most of the time. Then it measures them one by one. With `--write`, the best sizes
of every entry and the measurements are written to src/roialign/triton/sizes.json. Otherwise they are only printed. New
sizes replace the current ones if they are more than a twentieth faster over all workloads and not more than a
twentieth slower on any of them.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..markdown import table
from ..process import ROOT
from .candidates import OPERATORS, Entry, call_of, entries, in_table, kept_in_file
from .device import DEVICE
from .record import Record
from .timing import device_microseconds

SIZES = ROOT / "src" / "roialign" / "triton" / "sizes.json"
#: Workloads for separable entries. Those of the other family have operators.
WORKLOADS = ("box-test", "mask-test", "c4")
#: A smaller gain counts as noise.
GAIN = 0.05
#: Accepted difference from the current output, relative to its norm. Other block sizes add in another order.
NEAR = {2: 2e-3, 4: 1e-5}
Job = Callable[[], dict[str, Any]]


def workloads_of(entry: Entry) -> tuple[str, ...]:
    return OPERATORS.get(entry.table, WORKLOADS)


def jobs(kind: str) -> dict[str, Job]:
    """The jobs of every candidate: "check" or "time"."""
    job = {"check": check, "time": measure}[kind]
    kept = kept_in_file()
    return {
        name_of(entry, numbers): partial(job, entry, numbers) for entry in entries() for numbers in kept[entry.name]
    }


def name_of(entry: Entry, numbers: Sequence[int]) -> str:
    return f"{entry.name}: {'x'.join(map(str, numbers))}"


def check(entry: Entry, numbers: tuple[int, ...]) -> dict[str, Any]:
    """Check that the output is nearly the current one. This also compiles it."""
    for workload in workloads_of(entry):
        call = call_of(entry, workload, DEVICE)
        right = tensors_of(call())
        with in_table(entry, numbers):
            seen = tensors_of(call())
        for one, other in zip(seen, right, strict=True):
            error = float((one.double() - other.double()).norm() / other.double().norm().clamp(min=1e-30))
            if not error < NEAR[entry.element]:
                return {"outcome": "failed", "notes": [f"{workload}: a relative error of {error:.3g}"]}
    return {}


def tensors_of(answer: Any) -> list[torch.Tensor]:
    """Return all tensors of a nested structure."""
    if isinstance(answer, torch.Tensor):
        return [answer]
    return [tensor for part in answer or () for tensor in tensors_of(part)]


def measure(entry: Entry, numbers: tuple[int, ...]) -> dict[str, Any]:
    """Return the microseconds of the whole call per workload. One input set is enough: only the kernels differ."""
    with torch.cuda.stream(torch.cuda.Stream()), in_table(entry, numbers):
        times = {
            workload: device_microseconds(repeated(call_of(entry, workload, DEVICE)), 1)
            for workload in workloads_of(entry)
        }
    return {"found": {"tuned": {"entry": entry.name, "numbers": list(numbers), "microseconds": times}}}


def repeated(call: Callable[[], Any]) -> Callable[[int], Any]:
    return lambda _: call()


def best_of(record: Record) -> dict[str, list[dict[str, Any]]]:
    """Return the measurements by the name of the entry: the current sizes first, then the best ones if they differ."""
    by_entry: dict[str, list[dict[str, Any]]] = {}
    for found in record.found("tuned"):
        by_entry.setdefault(found["entry"], []).append(found)
    chosen = {}
    for entry in entries():
        present = [one for one in by_entry.get(entry.name, []) if tuple(one["numbers"]) == entry.present]
        if not present:
            continue  # without a time of the current sizes, there is nothing to compare with
        good = [one for one in by_entry[entry.name] if is_better(one["microseconds"], present[0]["microseconds"])]
        best = min(good, key=lambda one: gain_of(one["microseconds"], present[0]["microseconds"]), default=None)
        chosen[entry.name] = [present[0], *([best] if best else [])]
    return chosen


def gain_of(times: Mapping[str, float], present: Mapping[str, float]) -> float:
    """Return the geometric mean, over the workloads, of the time relative to the current sizes."""
    return math.exp(sum(math.log(times[name] / present[name]) for name in present) / len(present))


def is_better(times: Mapping[str, float], present: Mapping[str, float]) -> bool:
    return gain_of(times, present) < 1 - GAIN and all(times[name] < present[name] * (1 + GAIN) for name in present)


def render(chosen: Mapping[str, list[dict[str, Any]]]) -> str:
    lines = []
    for name, found in chosen.items():
        of_all = [f"{' x '.join(map(str, one['numbers']))}: {times_text(one['microseconds'])}" for one in found]
        gain = f"{gain_of(found[1]['microseconds'], found[0]['microseconds']):.2f}" if len(found) > 1 else "stays"
        lines.append([name, of_all[0], of_all[1] if len(found) > 1 else "-", gain])
    return table(["entry", "present, us", "better, us", "time"], lines)


def times_text(times: Mapping[str, float]) -> str:
    return ", ".join(f"{workload} {time:.1f}" for workload, time in times.items())


def write(path: Path, chosen: Mapping[str, list[dict[str, Any]]], gpu: str, date: str) -> None:
    """Write the best sizes to the table, with all measurements, including those of the current sizes."""
    raw = json.loads(path.read_text())
    for name, found in chosen.items():
        which, layout, element = name.split()
        raw["sizes"][which][layout][element] = found[-1]["numbers"]
        raw["measured"][name] = {
            "gpu": gpu,
            "date": date,
            "microseconds": {"x".join(map(str, one["numbers"])): one["microseconds"] for one in found},
        }
    path.write_text(text_of(raw))


def text_of(raw: Mapping[str, Any]) -> str:
    """Return a line for every layout, and for every measured entry."""
    tables = []
    for name, layouts in raw["sizes"].items():
        lines = ",\n".join(f'   "{layout}": {json.dumps(sizes)}' for layout, sizes in layouts.items())
        tables.append(f'  "{name}": {{\n{lines}\n  }}')
    measured = ",\n".join(f'  "{name}": {json.dumps(one)}' for name, one in raw["measured"].items())
    measured = f"{{\n{measured}\n }}" if measured else "{}"
    return '{\n "sizes": {\n' + ",\n".join(tables) + f'\n }},\n "measured": {measured}\n}}\n'


def main(arguments: Sequence[str] | None = None) -> int:
    from . import run

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu tune", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("gpu-results"), help="folder for the results")
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="time limit for everything; rerun the same command to resume"
    )
    parser.add_argument("--most", type=int, help="largest number of candidates")
    parser.add_argument("--write", action="store_true", help="write sizes.json")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU: tiny sizes, in Triton's interpreter")
    options = parser.parse_args(arguments)
    words = ["--steps", "candidates,tune", "--results", str(options.results), "--minutes", str(options.minutes)]
    words += ["--rehearse"] if options.rehearse else []
    words += ["--most", str(options.most)] if options.most else []
    code = run.main(words)
    record = Record.read(options.results / "gpu.json", print)
    chosen = best_of(record)
    print(render(chosen) if chosen else "benchmarks.gpu tune: nothing was measured")
    if options.write and chosen:
        machine = record.steps["tools"].items["tools"].found["machine"]
        write(SIZES, chosen, machine["gpu"], record.date)
        print(f"written to {SIZES.relative_to(ROOT)}")
    return code
