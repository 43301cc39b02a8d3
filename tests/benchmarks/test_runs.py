"""The benchmark harness at work: its workers, its files and its tables. No time is asserted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.cases import Case, group_cases
from benchmarks.detection import POOLING, train_step, watch
from benchmarks.floor import CopyProbe
from benchmarks.machine import describe_machine, file_name
from benchmarks.markdown import BEGIN, END, insert, render
from benchmarks.measure import Settings, measure
from benchmarks.peers import OURS, PEERS, Entry, Peer
from benchmarks.pool import WorkerPool, without_paths
from benchmarks.process import SlowWorkerError, Worker, WorkerError
from benchmarks.results import Floor, Measurement, Report, read_report
from benchmarks.summary import Summary
from benchmarks.tables import compare_ours, comparison_table, make_rows
from benchmarks.workloads import WORKLOADS
from roialign.detection import DetectorSettings
from tests.benchmarks.test_harness import CASE, SMALL

WORKERS = [sys.executable, "-m", "benchmarks.workers"]

# The workers.


def small_run(monkeypatch: pytest.MonkeyPatch, cases: list[Case], peers: list[Peer]) -> Report:
    """A run on the small workload, one round."""
    monkeypatch.setitem(WORKLOADS, "small", SMALL)
    monkeypatch.setattr("benchmarks.measure.CopyProbe", lambda: CopyProbe(1))
    done: list[float] = []
    report = Report(describe_machine(), {}, {"date": "2000-01-01", "rounds": 1})
    with WorkerPool(peers, isa="baseline") as workers:
        workers.start()
        report.versions, report.not_measured = workers.versions, workers.not_measured
        steps = measure(cases, workers, report, Settings(rounds=1), lambda _, part: done.append(part))
        measured = [len(partial.measurements) for partial in steps]
    assert sum(done) == pytest.approx(len(group_cases(cases)))
    assert measured == sorted(set(measured))
    assert len(measured) == len(group_cases(cases)), "a report after every group"
    return report


def test_ours_is_measured_in_its_own_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cases = [
        Case("small", layout, dtype, sampling, direction, 1)
        for layout, dtype, sampling, direction in (
            ("NHWC", "float32", "S2", "forward"),
            ("NCHW", "float32", "exact", "forward"),
            ("NHWC", "bfloat16", "S0", "forward"),
            ("NCHW", "float32", "S0", "backward-features"),
            ("NHWC", "float32", "S2", "backward-boxes"),
        )
    ]
    absent = Peer("torchvision", "torchvision_operators", "not here", environment="ROIALIGN_BENCH_NOWHERE")
    report = small_run(monkeypatch, cases, [PEERS[OURS], absent])
    assert [item.note for item in report.measurements if item.status != "measured"] == []
    assert len(report.measurements) == 8  # three forward cases with two kinds of output
    assert report.versions["instruction set"] == "baseline"
    assert report.not_measured == {"torchvision": "ROIALIGN_BENCH_NOWHERE names no environment"}
    assert len(report.floors) == 5
    page = render(report)
    assert "torchvision" in page.splitlines()[-1]
    report.write(tmp_path / "results" / "report.json")
    assert read_report(tmp_path / "results" / "report.json") == report


def test_a_surrounded_workload_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SMALL", replace(SMALL, surrounded=True))
    report = small_run(monkeypatch, [Case("small", "NHWC", "float32", "S2", "forward", 2)], [PEERS[OURS]])
    assert {item.status for item in report.measurements} == {"measured"}


@pytest.mark.slow
@pytest.mark.parametrize("surrounded", [True, False], ids=["between operators", "alone"])
def test_ours_on_tensors_is_measured_beside(surrounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In eager mode, in every direction; compiled, where it is asked for."""
    monkeypatch.setattr(sys.modules[__name__], "SMALL", replace(SMALL, surrounded=surrounded))
    peers = [PEERS["roialign-torch"], replace(PEERS["roialign-torch-compiled"], workloads=("small",))]
    kinds = [("NHWC", "float32", "forward"), ("NCHW", "bfloat16", "forward")]
    if not surrounded:
        kinds += [("NCHW", "float32", "backward-features"), ("NHWC", "float32", "backward-boxes")]
    cases = [Case("small", layout, dtype, "S2", direction, 1) for layout, dtype, direction in kinds]
    report = small_run(monkeypatch, cases, [PEERS[OURS], *peers])
    assert report.not_measured == {}
    assert [item.note for item in report.measurements if item.status != "measured"] == []
    measured = [item.entry for item in report.measurements]
    assert sum(entry.peer == "roialign-torch" for entry in measured) == (4 if surrounded else 6)
    assert [entry.output for entry in measured if entry.peer == "roialign-torch-compiled"] == ["fresh"]


def test_a_wrong_answer_gets_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.measure.Oracle.expected", lambda *_: [np.ones((12, 8, 3, 2))])
    report = small_run(monkeypatch, [Case("small", "NHWC", "float32", "S2", "forward", 1)], [PEERS[OURS]])
    assert {item.status for item in report.measurements} == {"wrong answer"}
    assert all(item.summary is None and item.error is not None and item.error > 0.1 for item in report.measurements)
    assert "wrong by" in render(report)


def test_a_worker_tells_what_went_wrong() -> None:
    with Worker([*WORKERS, "ours"], limit=60) as worker:
        with pytest.raises(WorkerError, match="KeyError: 'nothing'"):
            worker.request("time", key="nothing", calls=1, warm=False)
        assert worker.request("release") == {"ok": True}
    with (
        Worker([*WORKERS, "no_such_peer"], limit=60) as worker,
        pytest.raises(WorkerError, match="No module named"),
    ):
        worker.request("describe")


@contextmanager
def stuck_worker(program: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A process that no kill ends, as if it were stuck in a driver. It is ended here, or by itself after 20 seconds."""
    monkeypatch.setattr("benchmarks.process.AFTER_KILL", 0.2, raising=False)
    worker = Worker([sys.executable, "-c", program], limit=0.2)
    kill: Callable[[], None] = worker.process.kill
    monkeypatch.setattr(worker.process, "kill", lambda: None)
    try:
        yield worker
    finally:
        kill()
        worker.process.wait()
        worker.close()


def test_a_process_that_no_kill_ends_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with stuck_worker("import time; time.sleep(20)", monkeypatch) as worker:
        assert worker.close(0.2) == -signal.SIGKILL
        assert worker.alive
    with stuck_worker("import time; time.sleep(20)", monkeypatch) as worker:
        with pytest.raises(SlowWorkerError, match="no answer within"):
            worker.request("anything")
        assert worker.alive
        assert worker.close(1000) == -signal.SIGKILL, "a process that was killed before gets no more time"
        assert worker.alive


#: A process that closes its output, but does not end.
SILENT = "import os, sys, time; sys.stderr.write('the last word'); sys.stderr.flush(); os.close(1); time.sleep(20)"


def test_a_process_that_closes_its_output_but_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.process.LAST_WORDS", 0.2, raising=False)
    with Worker([sys.executable, "-c", SILENT], limit=60) as worker:
        with pytest.raises(WorkerError, match="closed its output and was killed 0 seconds later: the last word"):
            worker.request("anything")
        assert not worker.alive
    with stuck_worker(SILENT, monkeypatch) as worker:
        worker.limit = 60
        with pytest.raises(WorkerError, match="closed its output"):
            worker.request("anything")
        assert worker.alive


def test_messages_lose_their_folders() -> None:
    assert without_paths("cannot open '/home/me/lib/x.so': no, 1/2") == "cannot open 'x.so': no, 1/2"


# The results.


def example_report() -> Report:
    """Ours at 2 ms reused and 3 ms fresh, a peer at 50 ms, a wrong one."""
    peer_case = replace(CASE, layout="NCHW")
    exact, backward = replace(CASE, sampling="exact"), replace(CASE, direction="backward-features")

    def measured(peer: str, case: Case, output: str, median: float) -> Measurement:
        return Measurement(
            Entry(peer, case, output), "measured", 1e-7, 2e-6, Summary(median, median, median, 5, 1, 1.0)
        )

    return Report(
        describe_machine(),
        {"roialign": "1"},
        {"date": "2000-01-01", "rounds": 5},
        {"1": 2e10, "2": 3e10},
        [
            measured(OURS, CASE, "reused", 2.0),
            measured(OURS, CASE, "fresh", 3.0),
            measured(OURS, exact, "reused", 2.5),
            measured(OURS, replace(CASE, threads=2), "reused", 1.0),
            measured(OURS, backward, "fresh", 6.0),
            measured("onnxruntime", peer_case, "reused", 50.0),
            Measurement(Entry("openvino", peer_case, "reused"), "wrong answer", 0.25, 2e-4),
        ],
        [Floor(replace(CASE, layout="any"), 20_000_000, 1.0)],
        {"torchvision": "no environment"},
    )


def test_report_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    example_report().write(path)
    assert read_report(path) == example_report()
    for text in ("[]", '{"schema": 0}', path.read_text().replace('"floors"', '"ceilings"')):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"report\.json: expected a report of schema 1"):
            read_report(path)


def test_tables_hold_ours_against_peers_and_floor() -> None:
    page = render(example_report())
    row = next(line for line in page.splitlines() if line.startswith("| 1 | NHWC | float32 | S2 | 2 "))
    assert row == "| 1 | NHWC | float32 | S2 | 2 | 3 | 1.00 | 1 (2.0x) | 50.0 (25.0x) | wrong by 2e-01 |"
    assert (
        "- torchvision (torchvision.ops: roi_align, roi_pool, ps_roi_align, ps_roi_pool): not measured, no environment"
        in page
    )
    assert "20.0 GB/s with 1 thread, 30.0 GB/s with 2 threads" in page
    assert WORKLOADS["box-test"].shape in page


def test_ours_is_held_against_itself() -> None:
    comparisons = compare_ours(make_rows(example_report()))
    ratios = {label: ratio for item in comparisons for label, ratio in item.ratios.items()}
    assert ratios == {
        "fresh over reused": 1.5,
        "over S2": 1.25,
        "over forward": 2.0,
        "speed-up over 1 thread": 2.0,
    }
    titles, lines = comparison_table(comparisons)
    assert sorted(titles[6:]) == sorted(ratios)
    assert {len(line) for line in lines} == {len(titles)}
    exact = next(line for line in lines if line[4] == "exact")
    assert exact[titles.index("over S2")] == "1.25"
    assert exact[titles.index("over forward")] == "-"


def test_only_what_is_between_the_markers_changes() -> None:
    page = f"# Performance\n\nProse.\n\n{BEGIN}\nold\n{END}\n\nMore prose.\n"
    assert insert(page, "new\n") == f"# Performance\n\nProse.\n\n{BEGIN}\n\nnew\n\n{END}\n\nMore prose.\n"
    assert insert(insert(page, "one\n"), "two\n") == insert(page, "two\n")
    assert insert("# Performance\n", "new\n").endswith(f"{BEGIN}\n\nnew\n\n{END}\n")
    with pytest.raises(ValueError, match="page: expected <!-- benchmark:end -->"):
        insert(f"{BEGIN}\n", "new\n")


def test_machine_is_named_as_a_file() -> None:
    assert file_name({"cpu": "AMD EPYC 9R14 @ 2.6GHz", "cores": 2}) == "amd-epyc-9r14-2-6ghz-2-cores.json"
    assert "/" not in str(describe_machine().values())


def test_the_clock_of_a_detector_changes_no_gradient() -> None:
    settings = DetectorSettings(
        "mask-rcnn", "resnet18-fpn", classes=("a",), width=4, out_channels=8, hidden=16, mask_hidden=4, min_size=64
    )
    gradients, clocks = [], []
    for watched in (False, True):
        torch.manual_seed(0)
        model = settings.build()
        if watched:
            clocks.append(watch(model))
        train_step(model, [torch.rand(3, 320, 320)], objects=3)()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    pooling = {name for name in clocks[0].spent if name.startswith(POOLING)}
    assert pooling == {"box pooling", "box pooling, backward", "mask pooling", "mask pooling, backward"}
    assert all(seconds > 0 for seconds in clocks[0].spent.values())
    assert clocks[0].counts["box pooling"] > clocks[0].counts["mask pooling"] > 0
