"""What is read off machine code, counted from boxes, predicted of both, and written to the table of block sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

import roialign
from benchmarks.gpu import candidates, predict, trips, tune
from benchmarks.gpu.calls import data_of
from benchmarks.gpu.candidates import Compiled, Entry
from benchmarks.gpu.cells import Cell
from benchmarks.gpu.record import Item, Record, Results
from benchmarks.gpu.sass import read_code
from benchmarks.workloads import WORKLOADS, Boxes
from roialign.triton import launch
from tests.tables.paths import ROOT

#: A loop within a loop, threads that go apart and come back, and the trap behind the end.
CODE = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 BRA `(.L_x_0) ;
.L_x_3:
        /*0020*/                   LDG.E R4, desc[UR8][R2.64] ;
        /*0030*/                   BRA.DIV UR6, `(.L_x_5) ;
.L_x_6:
        /*0040*/              @!P1 BRA `(.L_x_1) ;
.L_x_2:
        /*0050*/                   LDG.E.128 R4, desc[UR8][R2.64] ;
        /*0060*/                   FFMA R0, R1, R2, R3 ;
        /*0070*/               @P1 BRA `(.L_x_2) ;
.L_x_1:
        /*0080*/               @P0 BRA `(.L_x_3) ;
.L_x_0:
        /*0090*/                   EXIT ;
.L_x_5:
        /*00a0*/                   WARPSYNC.COLLECTIVE R15, `(.L_x_7) ;
.L_x_7:
        /*00b0*/                   BRA `(.L_x_6) ;
.L_x_4:
        /*00c0*/                   BRA `(.L_x_4);
        /*00d0*/                   NOP;
"""


def test_loops_of_machine_code() -> None:
    code = read_code(CODE)
    assert [(body.depth, body.instructions) for body in code.bodies] == [(0, 3), (1, 4), (2, 3)]
    assert [body.number("LDG") for body in code.bodies] == [0, 1, 1]
    assert [body.wide_loads for body in code.bodies] == [0, 0, 1]
    assert code.innermost().number("FFMA") == 1
    assert code.instructions == 10


def test_spans_are_those_of_the_weights() -> None:
    """Every pixel that weighs anything lies within its bin's, and the first and the last one do weigh something."""
    rng = np.random.default_rng(0)
    start, length = rng.uniform(-8, 30, 60), rng.uniform(0.5, 40, 60)
    size = np.full(60, 24)
    for ratio in (0, 2):
        first, end = trips.spans(start, length, size, 7, ratio)
        for row in range(60):
            weights = roialign.taps(24, start[row], length[row], 7, ratio, "grid", backend="reference")
            for bin_number, own in enumerate(weights):
                used = np.flatnonzero(own)
                if len(used):
                    assert first[row, bin_number] <= used[0] <= first[row, bin_number] + 1
                    assert end[row, bin_number] - 1 <= used[-1] + 1
                    assert used[-1] < end[row, bin_number]


SMALL = replace(WORKLOADS["c4"], name="small", channels=8, rois=40, boxes=Boxes((60.0, 200.0)), image_size=(300, 300))


def test_meetings_of_tiles_and_rois() -> None:
    """Counted one by one."""
    tile = launch.Tiling(4, 8, 8, 1)
    found, axes = trips.meetings(SMALL, 2, tile), trips.axes_of(SMALL, 2)
    counts, bins = np.zeros((13, 11), int), 0
    for row in range(SMALL.rois):
        for y, x in np.ndindex(13, 11):
            near = [
                int(((first[row] < low + side) & (end[row] > low) & (end[row] > first[row])).sum())
                for (first, end), side, low in ((axes.y, 4, 4 * y), (axes.x, 8, 8 * x))
            ]
            counts[y, x] += min(near) > 0
            bins += near[0] * near[1]
    assert (found.tiles, found.pairs, found.longest(0), found.bins) == (143, counts.sum(), counts.max(), bins)
    crowded = [counts[counts > length] for length in range(8, 100)]
    fits = [length for length, own in enumerate(crowded, 8) if len(own) + own.sum() / length <= 9]
    assert found.longest(9) == min(fits)
    assert found.pairs <= found.rows <= found.bins
    rois = data_of(SMALL).rois
    assert trips.touched_bytes(SMALL, 2, 4) <= trips.bytes_of_maps(SMALL, 4)
    assert len(rois) == 40


def test_what_bounds_a_kernel() -> None:
    device = predict.Device(memory=2.0, cache=4.0, cycles=1.0, multiprocessors=2, schedulers=4)
    kernel = predict.Kernel("forward", 10.0, 40.0, 16.0, 90.0, 7.0, 3)
    assert kernel.times(device) == {"memory": 5.0, "L2": 10.0, "issue": 2.0, "latency": 15.0}
    cell = Cell("box-test", False, "NHWC", "fp16", 2)
    time, bound = predict.Prediction(cell, [kernel, kernel]).microseconds(device)
    assert (time, bound) == (30.0 + 2 * predict.PER_LAUNCH, "latency")


#: A prediction and a candidate of a small workload, in a process of its own, in which Triton compiles.
PROGRAM = """
import json
from dataclasses import replace
from benchmarks.gpu import candidates, predict
from benchmarks.gpu.cells import Cell
from benchmarks.workloads import WORKLOADS
for name in ("box-test", "hot-tile"):
    WORKLOADS[name] = replace(WORKLOADS[name], rois=200)
for backward in (False, True):
    found = predict.predict(Cell("hot-tile", backward, "NHWC", "fp16", 2))
    print(json.dumps([[kernel.name, kernel.instructions, kernel.at_once] for kernel in found.kernels]))
entry = candidates.Entry("FORWARD", True, 2)
for numbers in (entry.present, (16, 64, 2)):
    one = candidates.compiled(entry, numbers)
    print(json.dumps([one.registers, one.stack, one.warps_at_once, one.turn, one.why_not]))
"""


@pytest.mark.slow
def test_kernels_are_compiled_and_counted() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    forward, backward, present, other = [json.loads(line) for line in run.stdout.splitlines()]
    assert [name for name, *_ in forward] == ["taps", "order", "forward"]
    names = ["taps", "tiles", "shares", "adjoint_features", "sum_shares"]
    assert [name for name, *_ in backward] == names
    assert all(instructions > 0 and at_once > 0 for _, instructions, at_once in forward + backward)
    assert forward[-1][1] == max(instructions for _, instructions, _ in forward)
    assert present[:2] != other[:2] or present[2] != other[2]
    for registers, stack, warps, turn, why_not in (present, other):
        assert 32 <= registers <= 255
        assert stack == 0
        assert warps >= 8
        assert turn > 2  # a conversion and a product, for every number
        assert why_not is None


def compiled(numbers: tuple[int, ...], turn: float, **more: Any) -> Compiled:
    facts = {"registers": 100, "stack": 0, "shared": 0, "warps_at_once": 16, **more}
    return Compiled(Entry("FORWARD", True, 2), numbers, turn=turn, **facts)


def test_what_cannot_be_good_is_dropped() -> None:
    present = compiled((64, 64, 4), 6.0)
    better = [compiled((16, 64, index), 4.0 + index / 10) for index in range(1, 8)]
    bad = [compiled((8, 8, 1), 1.0, stack=400), compiled((8, 8, 2), 1.0, warps_at_once=4), compiled((8, 8, 4), 9.0)]
    kept = candidates.kept_of([present, *bad, *reversed(better)])
    assert kept == [present, *better[: candidates.MOST]]
    assert "registers spill" in str(bad[0].why_not)


def test_the_file_of_candidates_is_of_this_table() -> None:
    """The present ones first; no more than can be tried in two minutes."""
    kept = candidates.kept_in_file()
    assert list(kept) == [entry.name for entry in candidates.entries()]
    for entry in candidates.entries():
        assert entry.present in kept[entry.name]
        assert set(kept[entry.name]) <= set(candidates_with_present(entry))
        assert len(set(kept[entry.name])) == len(kept[entry.name]) <= 1 + candidates.MOST
    assert candidates.text_of(candidates.in_file()) == candidates.FILE.read_text()
    names = list(tune.jobs("time"))
    assert len(names) == len(set(names)) == sum(map(len, kept.values()))


def candidates_with_present(entry: Entry) -> list[tuple[int, ...]]:
    return list(candidates.candidates_of(entry))


def test_a_candidate_is_in_the_table_for_a_while() -> None:
    entry = Entry("FEATURES", False, 4)
    before = entry.present
    with candidates.in_table(entry, (8, 8, 4, 1)):
        assert launch.FEATURES[False][4] == launch.Tiling(8, 8, 4, 1)
    assert entry.present == before


def tuned(folder: Path, times: dict[tuple[int, ...], dict[str, float]]) -> Record:
    """What a run has found of an entry."""
    record = Record(folder / "gpu.json", date="2030-01-02")
    items = {
        str(numbers): Item(
            "passed",
            1.0,
            [],
            {"tuned": {"entry": "FORWARD NHWC 2", "numbers": list(numbers), "microseconds": microseconds}},
        )
        for numbers, microseconds in times.items()
    }
    record.steps["tune"] = Results(items, len(items))
    return record


def test_the_best_goes_to_the_table(tmp_path: Path) -> None:
    """Not what is a little faster, nor what is faster here and slower there."""
    present = launch.FORWARD[True][2]
    times = {
        tuple(present): {"box-test": 100.0, "c4": 50.0},
        (32, 64, 4): {"box-test": 97.0, "c4": 49.0},
        (32, 64, 2): {"box-test": 50.0, "c4": 60.0},
        (16, 64, 2): {"box-test": 80.0, "c4": 45.0},
        (16, 64, 4): {"box-test": 85.0, "c4": 45.0},
    }
    chosen = tune.best_of(tuned(tmp_path, times))
    assert [one["numbers"] for one in chosen["FORWARD NHWC 2"]] == [list(present), [16, 64, 2]]
    assert "16 x 64 x 2: box-test 80.0, c4 45.0" in tune.render(chosen)
    path = tmp_path / "sizes.json"
    path.write_text(tune.SIZES.read_text())
    tune.write(path, chosen, "Some GPU", "2030-01-02")
    written, before = (json.loads(file.read_text()) for file in (path, tune.SIZES))
    assert written["sizes"]["FORWARD"]["NHWC"].pop("2") == [16, 64, 2]
    before["sizes"]["FORWARD"]["NHWC"].pop("2")
    assert written["sizes"] == before["sizes"]
    assert written["measured"]["FORWARD NHWC 2"]["gpu"] == "Some GPU"
    assert written["measured"]["FORWARD NHWC 2"]["microseconds"]["16x64x2"] == {"box-test": 80.0, "c4": 45.0}


def test_without_the_present_one_nothing_is_better(tmp_path: Path) -> None:
    assert tune.best_of(tuned(tmp_path, {(16, 64, 2): {"box-test": 1.0}})) == {}


def test_the_table_is_written_as_it_is() -> None:
    text = tune.SIZES.read_text()
    assert tune.text_of(json.loads(text)) == text


@pytest.mark.slow
def test_a_rehearsal_of_tuning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "tune", "--results", str(tmp_path), "--rehearse", "--most", "1"]
    done = subprocess.run([*command, "--minutes", "20"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "FORWARD NHWC 2 | " in done.stdout
    assert "stays" in done.stdout
