"""The benchmark harness: its data, its suites, its statistics and its gate. No time is asserted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import roialign
from benchmarks.cases import OPERATOR_SUITE, QUICK_SUITE, SUITE, Case, group_cases, parse_threads, select_cases
from benchmarks.conformance import Oracle, conforms, largest_error, tolerance_of
from benchmarks.floor import CopyProbe, Footprint
from benchmarks.pages import cpu_page
from benchmarks.peers import OURS, PEERS, choose_peers, entries_of
from benchmarks.summary import Summary, calls_per_round, summarise
from benchmarks.tables import number
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


@pytest.mark.parametrize(
    ("model", "page"),
    [
        ("Intel(R) Xeon(R) Processor (family 6, model 207)", "cpu-intel.md"),
        ("AMD EPYC (family 25, model 17)", "cpu.md"),
        ("Neoverse-V2", "cpu.md"),
    ],
)
def test_every_cpu_has_a_page(model: str, page: str) -> None:
    path = cpu_page(model)
    assert path.name == page
    assert "<!-- benchmark:begin -->" in path.read_text(encoding="utf-8")
