"""benchmarks.gpu without a GPU: its calls on the CPU, its rows, and the page that is written. No time is asserted."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu import calls, first_call, measure, points, results, timing
from benchmarks.gpu.calls import Inputs, WrongAnswerError
from benchmarks.gpu.cells import Cell
from benchmarks.gpu.goals import judged
from benchmarks.gpu.results import Report, Row
from benchmarks.gpu.timing import Rates, Times
from benchmarks.workloads import WORKLOADS


@pytest.mark.parametrize("operator", points.OPERATORS, ids=lambda operator: operator.name)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_every_operator_is_called(operator: Any, backward: bool) -> None:
    by_position = operator.channels == 490
    small = replace(operator, channels=98 if by_position else 8)
    features, *boxes = points.scene(small, "cpu", torch.float32, "NHWC", count=3)
    answer = points.call_of(small, "ours", [features], *boxes, backward)(0)
    if backward:
        assert answer[0].shape == features.shape
        assert answer[0].any()
    else:
        assert answer.shape == (3, 2 if by_position else 8, 7, 7)
        assert answer.numel() == small.output_elements(3)


def test_a_wrong_answer_gets_no_time() -> None:
    right = replace(points.OPERATORS[0], channels=2)
    points.check(right, torch.float32, "NCHW", False, "cpu")
    wrong = replace(right, ours=lambda f, b, t: right.ours(f, b, t) * (1.01 if f.dtype == torch.float32 else 1.0))
    with pytest.raises(WrongAnswerError, match="roi_pool: a relative error"):
        points.check(wrong, torch.float32, "NCHW", True, "cpu")


def small_inputs(dtype: torch.dtype = torch.float32) -> Inputs:
    return Inputs(replace(WORKLOADS["video"], channels=4, rois=3), dtype, True, sets=2, device="cpu")


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_what_is_not_written_is_a_wrong_answer(backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    right = calls.ours

    def half_written(inputs: Inputs, points: int, backward: bool) -> Any:
        def call(index: int) -> Any:
            answer = right(inputs, points, backward)(index)
            written = answer[0] if backward else answer
            fresh = torch.empty_like(written)
            fresh[..., 1:] = written[..., 1:]
            return [fresh] if backward else fresh

        return call

    assert calls.check(small_inputs(), 2, backward) is not None
    monkeypatch.setattr(calls, "ours", half_written)
    with pytest.raises(WrongAnswerError, match="error of nan"):
        calls.check(small_inputs(), 2, backward)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_einsum_answers_the_same(backward: bool) -> None:
    inputs = small_inputs()
    answer = calls.ours(inputs, 2, backward)(1)
    peer = calls.einsum_calls(inputs, 2, backward)
    calls.check_peer(peer, answer, torch.float32)
    moved = [level + 1 for level in answer] if backward else answer + 1
    with pytest.raises(WrongAnswerError):
        calls.check_peer(peer, moved, torch.float32)


def test_the_floor_counts_the_pixels_of_every_roi() -> None:
    """Stride 16: from pixel 0 to pixel 10 and the one after it, the same again beyond the upper left corner."""
    rois = np.array([[0, 8.0, 8.0, 168.0, 168.0], [0, -500.0, -500.0, 168.0, 168.0], [0, 8.0, 8.0, 168.0, 5000.0]])
    counted = calls.footprint_of(rois, np.zeros(3, np.int64), WORKLOADS["one-roi"])
    assert counted == 256 * (12 * 12 + 12 * 12 + 12 * 50)


@pytest.mark.parametrize("fails", [False, True], ids=["all is well", "ours fails"])
def test_one_cell(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer is measured, and the next cell, whatever becomes of ours."""
    monkeypatch.setattr(measure, "Inputs", lambda *_: small_inputs())
    monkeypatch.setattr(measure, "times_of", lambda call, sets: Times(1.0 + len(call(0)), 2.0 + sets))
    monkeypatch.setattr(measure, "extra_memory", lambda *_: 0.25)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    if fails:
        monkeypatch.setattr(measure, "check", lambda *_: 1 // 0)
    (row,) = measure.measure_cell(Cell("video", False, "NHWC", "fp32", 2), Rates(1e-3, 1e9), False)
    assert (row.workload, row.what, row.peer, row.peer_us, row.peer_eager_us) == ("video", "forward", "einsum", 2, 4)
    assert row.floor_us == pytest.approx(small_inputs().bytes * 1e3)
    if fails:
        assert (row.ours_us, row.eager_us, row.extra_memory) == (None, None, None)
        assert row.notes == ["ZeroDivisionError: integer division or modulo by zero"]
    else:
        assert (row.ours_us, row.eager_us, row.extra_memory, row.notes) == (4, 4, 0.25, [])


def test_the_clock_of_the_host_stops_before_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(timing, "warm_up", lambda _: 0.25)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: said.append("wait"))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: said.append("clock") or float(len(said)))
    found = timing.host_microseconds(lambda index: said.append(f"call {index}"), 2)
    assert said[:8] == ["wait", "clock", "call 0", "clock", "wait", "clock", "call 1", "clock"]
    assert len([word for word in said if word.startswith("call")]) == timing.FEWEST_REPEATS
    assert found == 2e6


def test_slow_calls_are_repeated_less_often() -> None:
    assert [timing.repeats_of(seconds) for seconds in (1e-6, 0.1, 10.0)] == [30, 10, 5]


def test_the_first_call_is_made_in_new_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which share a cache of Triton's that is empty at first."""
    program = """
import json, os, pathlib, sys
assert sys.argv[1:] == ["-m", "benchmarks.gpu.first_call"]
kept = pathlib.Path(os.environ["TRITON_CACHE_DIR"])
print(json.dumps({"files": len(list(kept.iterdir()))}))
(kept / "kernel").write_text("")
"""
    run = subprocess.run
    monkeypatch.setattr(
        first_call.subprocess,
        "run",
        lambda command, **more: run([command[0], "-c", program, *command[1:]], **more),
    )
    assert first_call.in_new_processes() == {"empty": {"files": 0}, "filled": {"files": 1}}


def test_the_seconds_of_first_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(WORKLOADS["box-test"], channels=4, rois=3)
    monkeypatch.setattr(first_call, "Inputs", lambda _, *more, **options: Inputs(small, *more, **options, device="cpu"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    seconds = first_call.first_calls()
    assert list(seconds) == ["forward", "backward after it"]
    assert all(value > 0 for value in seconds.values())


def report() -> Report:
    """A recorded run, as it would be of another machine."""
    machine = {"gpu": "Some GPU", "multiprocessors": 132, "memory_gb": 141, "cache_mb": 60, "cpu": "some CPU"}
    seconds = {"empty": {"forward": 2.5, "backward": 4.0}, "filled": {"forward": 0.25, "backward": 0.5}}
    cell = ("box-test", "forward", "NHWC", "fp16", 2)
    rows = [
        Row(*cell, 20.0, 30.0, 10.0, 0.01, "torchvision", 90.0, 15.0),
        Row("c4", "backward", "NCHW", "fp32", 0, None, None, 10.0, None, notes=["OutOfMemoryError: too much"]),
    ]
    versions = {"torch": "2.11.0", "triton": "3.6.0"}
    return Report(machine, versions, "2030-01-02", 30, {"memory": 4.25e6, "cache": 8e6}, seconds, rows)


def test_the_page_names_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written by the command from what it recorded, in the place of the words that nothing was measured."""
    page = tmp_path / "gpu.md"
    page.write_text(measure.GPU.read_text())
    monkeypatch.setattr(measure, "GPU", page)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    whole = report()
    replace(whole, rows=whole.rows[:1]).write(first)
    replace(whole, rows=whole.rows[1:]).write(second)
    assert results.read_reports([first, second]) == whole
    # One cell has no time of ours.
    assert measure.main(["--from-json", str(first), str(second), "--write-docs"]) == 1
    text = page.read_text()
    assert "Some GPU, 132 multiprocessors, 141 GB, 60 MB of L2 cache, beside some CPU" in text
    assert "a device copy runs at 4250 GB/s, within the L2 cache at 8000 GB/s" in text
    assert "forward 2.50 s, 0.25 s; backward 4.00 s, 0.50 s" in text
    assert (
        "| NHWC | fp16 | S2 | 20.0 | 10.0 (2.00x) | 30.0 | torchvision | 90.0 (4.50x) | 15.0 (0.50x) | 1.0% |" in text
    )
    assert "| NCHW | fp32 | S0 | - | 10.0 | - | none | - | - | - |" in text
    assert "| box-test S2 forward, fp16 NHWC: 4 times as fast as torchvision | 4.50 | box-test, forward," in text
    assert "- c4, backward, NCHW fp32 S0: OutOfMemoryError: too much" in text
    assert "Nothing has been measured on a GPU yet" not in text
    assert text.count("## How it is measured") == 1
    assert results.render(whole, []) in capsys.readouterr().out
    before = text
    assert measure.main(["--from-json", str(first), "--write-docs"]) == 0
    assert "OutOfMemoryError" not in page.read_text()
    measure.main(["--from-json", str(first), str(second), "--write-docs"])
    assert page.read_text() == before


def test_goals() -> None:
    """Of the worst cell; one that has no time is counted, and a goal without any is not met."""
    cell = ("vit", "forward", "NHWC", "fp32", 2)
    rows = [
        Row(*cell, 10.0, 1.0, 5.0, 0.02, "torchvision", 30.0, 1.0),
        Row(*cell, 10.0, 1.0, 5.0, 0.02, "einsum", 9.0, 1.0),
        Row(*cell, None, None, 5.0, None, "einsum", 9.0, 1.0),
        Row("box-test", "forward", "NCHW", "fp32", 2, 10.0, 1.0, 4.0, 0.06, "torchvision", 20.0, 1.0),
    ]
    found = {goal: (worst, met) for goal, worst, _, met in judged(rows)}
    assert found["mask-test, c4, vit, video: as fast as torchvision and einsum in every cell"] == (
        "0.90",
        "**missed**; 1 not measured",
    )
    assert found["box-test S2 forward, fp32 NCHW: twice as fast as torchvision"] == ("2.00", "met")
    assert found["both: within 2.5 times the floor"] == ("2.50", "met")
    assert found["extra memory: 5 % of inputs and outputs"] == ("6.00", "**missed**; 1 not measured")
    assert found["box-test S2 forward, fp16 NHWC: 4 times as fast as torchvision"] == ("-", "not measured")


def test_what_is_no_report_of_one_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, other, none = tmp_path / "first.json", tmp_path / "other.json", tmp_path / "none.json"
    report().write(first)
    replace(report(), versions={"torch": "2.12.0"}).write(other)
    none.write_text('{"rows": []}')
    for paths, words in (([first, other], "expected the machine and the versions"), ([none], "schema")):
        with pytest.raises(SystemExit):
            measure.main(["--from-json", *map(str, paths)])
        assert words in capsys.readouterr().err
