"""The benchmark harness: its data, its statistics, its gate, its files and its tables. No time is asserted."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import roialign
from roialign.detection import DetectorSettings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the harness is not part of the package

from benchmarks.cases import OPERATOR_SUITE, QUICK_SUITE, SUITE, Case, group_cases, parse_threads, select_cases
from benchmarks.conformance import Oracle, conforms, largest_error, tolerance_of
from benchmarks.detection import POOLING, train_step, watch
from benchmarks.floor import CopyProbe, Footprint
from benchmarks.machine import describe_machine, file_name
from benchmarks.markdown import BEGIN, END, insert, render
from benchmarks.measure import Settings, measure
from benchmarks.peers import OURS, PEERS, Entry, Peer, choose_peers, entries_of
from benchmarks.pool import WorkerPool, without_paths
from benchmarks.process import Worker, WorkerError
from benchmarks.results import Floor, Measurement, Report, read_report
from benchmarks.summary import Summary, calls_per_round, summarise
from benchmarks.tables import compare_ours, make_rows, number
from benchmarks.workloads import WORKLOADS, Boxes, Level, Workload, assign_levels, draw_boxes, make_data

SMALL = Workload(
    "small", "for tests", (Level(20, 30, 1 / 4), Level(10, 15, 1 / 8)), 8, 12, (3, 2), 2, (80, 120), Boxes((8.0, 60.0))
)
CASE = Case("box-test", "NHWC", "float32", "S2", "forward", 1)


# The data.


@pytest.mark.parametrize("name", WORKLOADS)
def test_boxes_are_as_the_workload_says(name: str) -> None:
    workload = WORKLOADS[name]
    boxes = draw_boxes(workload, np.random.default_rng(0))
    size = boxes[:, 2:] - boxes[:, :2]
    assert boxes.shape == (workload.rois, 4)
    assert (size > 0).all()
    side = np.sqrt(size.prod(axis=1))
    smallest, largest = workload.boxes.sides
    assert side.max() <= largest * (1 + 1e-9)
    assert (size[:, 0] / size[:, 1]).max() <= 2 * (1 + 1e-9)
    if not workload.boxes.whole:
        height, width = workload.image_size
        assert boxes.min() >= 0
        assert (boxes[:, 2:] <= [width, height]).all()
    if workload.image_size[0] > largest * 2:
        assert side.min() >= smallest * (1 - 1e-9)


def test_box_sides_are_log_uniform() -> None:
    boxes = draw_boxes(replace(WORKLOADS["box-test"], rois=100_000), np.random.default_rng(0))
    side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    assert np.median(side) == pytest.approx(np.sqrt(16 * 600), rel=0.02)


def test_boxes_of_a_hot_tile_lie_on_each_other() -> None:
    boxes = draw_boxes(WORKLOADS["hot-tile"], np.random.default_rng(0))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.ptp(middle, axis=0).max() <= 4


@pytest.mark.parametrize("name", ["box-test", "dense-small", "huge-box", "vit"])
def test_levels_are_those_that_the_library_assigns(name: str) -> None:
    workload = WORKLOADS[name]
    boxes = draw_boxes(workload, np.random.default_rng(0)).astype(np.float32)
    expected = roialign.fpn_levels(boxes, [level.scale for level in workload.levels])
    np.testing.assert_array_equal(assign_levels(boxes, workload.levels), expected)


def test_data_follow_from_the_seed() -> None:
    first, again, other = (make_data(SMALL, gradient=True, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.rois, again.rois)
    np.testing.assert_array_equal(first.maps[1], again.maps[1])
    assert first.grad_output is not None
    assert again.grad_output is not None
    np.testing.assert_array_equal(first.grad_output, again.grad_output)
    assert (first.rois != other.rois).any()
    assert first.maps[0].shape == (2, 8, 20, 30)
    assert first.grad_output.shape == (12, 8, 3, 2)
    assert set(first.rois[:, 0]) == {0, 1}
    # The gradient is drawn last: the forward cases have the same data with and without it.
    np.testing.assert_array_equal(make_data(SMALL, seed=1).maps[1], first.maps[1])


# The cases.


def test_every_workload_is_in_the_suite() -> None:
    assert {selection.workload for selection in (*SUITE, *OPERATOR_SUITE)} == set(WORKLOADS)
    cases = select_cases(SUITE, [], [1, 2])
    assert len(set(cases)) == len(cases)
    assert {case.layout for case in cases} == {"NHWC", "NCHW"}


def test_workloads_are_chosen_by_name() -> None:
    assert {case.workload for case in select_cases(SUITE, ["c4", "vit"], [1])} == {"c4", "vit"}
    assert {case.workload for case in select_cases(QUICK_SUITE, ["video"], [1])} == {"video"}
    with pytest.raises(ValueError, match=r"workload: expected one of box-test, .*, got box"):
        select_cases(SUITE, ["box"], [1])


def test_threads_are_counts_or_all() -> None:
    assert parse_threads(["1", "1"]) == [1]
    assert parse_threads(["all"])[0] >= 1
    with pytest.raises(ValueError, match="threads: expected counts of at least 1"):
        parse_threads(["0"])


def test_answers_that_fill_the_memory_are_measured_apart() -> None:
    groups = group_cases(select_cases(SUITE, ["dense-small", "box-test"], [1, 2]))
    assert [workload.name for workload, _ in groups] == ["box-test", "dense-small", "dense-small"]


def test_peers_get_what_they_can_do_once() -> None:
    cases = select_cases(SUITE, ["box-test", "huge-box"], [1])
    entries = entries_of(cases, PEERS["onnxruntime"])
    assert len(set(entries)) == len(entries) == 2
    assert {entry.case.sampling for entry in entries} == {"S2", "S0"}
    assert {entry.case.layout for entry in entries} == {"NCHW"}
    ours = entries_of(cases, PEERS[OURS])
    assert {entry.output for entry in ours} == {"reused", "fresh"}
    assert {entry.output for entry in ours if entry.case.direction != "forward"} == {"fresh"}


def test_peers_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [peer.name for peer in choose_peers(["openvino"])] == [OURS, "openvino"]
    monkeypatch.delenv("ROIALIGN_BENCH_BASELINE", raising=False)
    assert "roialign-baseline" not in [peer.name for peer in choose_peers([])]
    with pytest.raises(ValueError, match=r"peer: expected one of .*, got cudnn"):
        choose_peers(["cudnn"])


# The statistics.


def test_summary_is_median_and_quartiles() -> None:
    summary = summarise([0.001, 0.005, 0.002, 0.003, 0.004], [0.002, 0.01, 0.004, None, 0.008], 7)
    assert summary == Summary(pytest.approx(3), pytest.approx(2), pytest.approx(4), 5, 7, pytest.approx(2))
    assert summarise([1.0], [None], 1).cpu_over_wall is None
    with pytest.raises(ValueError, match="walls: expected at least one measurement"):
        summarise([], [], 1)


def test_short_calls_are_timed_together() -> None:
    assert [calls_per_round(seconds) for seconds in (1.0, 0.02, 0.015, 0.001, 1e-9, 0.0)] == [1, 1, 2, 20, 1000, 1000]


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (0.01234, 1.2345, 12.345, 123.45)] == ["0.0123", "1.23", "12.3", "123"]


# The gate.


def test_gate_accepts_the_answer_and_rounding() -> None:
    right = np.linspace(-2, 2, 60).reshape(5, 12)
    assert largest_error([right.astype(np.float32)], [right]) < 1e-7
    assert largest_error([right + 1e-4], [right]) == pytest.approx(5e-5)
    assert largest_error([np.zeros(3)], [np.zeros(3)]) == 0


@pytest.mark.parametrize("wrong", ["one element", "NaN", "infinity", "shape", "missing", "zeros"])
def test_gate_rejects_a_wrong_answer(wrong: str) -> None:
    right = np.linspace(-2, 2, 60).reshape(5, 12)
    answer = [right.copy()]
    if wrong == "shape":
        answer = [right.T]
    elif wrong == "missing":
        answer = []
    elif wrong == "zeros":
        answer = [np.zeros_like(right)]
    else:
        answer[0][3, 4] += {"one element": 0.01, "NaN": np.nan, "infinity": np.inf}[wrong]
    assert not conforms(largest_error(answer, [right]), tolerance_of("onnxruntime", CASE))


def test_gate_holds_ours_to_more_than_peers() -> None:
    assert tolerance_of(OURS, CASE) < tolerance_of("onnxruntime", CASE) == 2e-4
    assert not conforms(float("nan"), 1.0)


def test_oracle_answers_some_rois_of_a_large_answer() -> None:
    workload = replace(SMALL, rois=200)
    data = make_data(workload)
    whole, some = Oracle(workload, data, 10**9), Oracle(workload, data, 2000)
    rows = some.rows(CASE)
    assert whole.rows(CASE) is None
    assert rows is not None
    assert {0, 199} <= set(rows)
    assert len(rows) < 60
    np.testing.assert_array_equal(some.expected(CASE)[0], whole.expected(CASE)[0][rows])
    np.testing.assert_array_equal(some.expected(CASE, 3)[0], whole.expected(CASE)[0][rows][:, :3])


@pytest.mark.parametrize("sampling", ["S2", "S0", "exact"])
def test_oracle_is_the_reference(sampling: str) -> None:
    data = make_data(SMALL)
    expected = roialign.multiscale_roi_align(
        [array.astype(np.float64) for array in data.maps],
        data.rois,
        SMALL.output_size,
        [level.scale for level in SMALL.levels],
        2 if sampling == "S2" else 0,
        sampling="exact" if sampling == "exact" else "grid",
        backend="reference",
    )
    answer = Oracle(SMALL, data, 10**9).expected(replace(CASE, sampling=sampling))
    assert largest_error(answer, [expected]) < 1e-12


# The floor.


def test_footprint_counts_touched_pixels_once() -> None:
    workload = replace(SMALL, levels=(Level(20, 30, 1.0),), rois=2, images=1, channels=8)
    data = make_data(workload)
    rois = np.array([[0, 4.5, 4.5, 8.5, 8.5], [0, 4.5, 4.5, 8.5, 8.5]], dtype=np.float32)
    footprint = Footprint(workload, replace(data, rois=rois, level_of_roi=np.zeros(2, dtype=np.int64)))
    assert footprint.touched("exact") == 5 * 5  # [4, 8] in feature coordinates
    assert footprint.compulsory_bytes(replace(CASE, sampling="exact")) == 4 * 8 * (25 + 2 * 6)
    whole = footprint.compulsory_bytes(replace(CASE, direction="backward-features", dtype="float16"))
    assert whole == 2 * 8 * (20 * 30 + 2 * 6)


def test_copies_have_a_speed() -> None:
    assert all(CopyProbe(1).bandwidth(threads) > 0 for threads in (1, 3))


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
    assert report.not_measured == {"torchvision": "no environment is named in ROIALIGN_BENCH_NOWHERE"}
    assert len(report.floors) == 5
    page = render(report)
    assert "torchvision" in page.splitlines()[-1]
    report.write(tmp_path / "results" / "report.json")
    assert read_report(tmp_path / "results" / "report.json") == report


def test_a_surrounded_workload_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SMALL", replace(SMALL, surrounded=True))
    report = small_run(monkeypatch, [Case("small", "NHWC", "float32", "S2", "forward", 2)], [PEERS[OURS]])
    assert {item.status for item in report.measurements} == {"measured"}


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
    with Worker(sys.executable, "ours", limit=60) as worker:
        with pytest.raises(WorkerError, match="KeyError: 'nothing'"):
            worker.request("time", key="nothing", calls=1, warm=False)
        assert worker.request("release") == {"ok": True}
    with (
        Worker(sys.executable, "no_such_peer", limit=60) as worker,
        pytest.raises(WorkerError, match="No module named"),
    ):
        worker.request("describe")


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
    ratios = {item.what.split(": ")[1]: item.ratio for item in compare_ours(make_rows(example_report()))}
    assert ratios == {
        "fresh over reused": 1.5,
        "over S2": 1.25,
        "over forward": 2.0,
        "speed-up over 1 thread": 2.0,
    }


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
