"""The harness on operators besides the mean of RoIAlign. No time is asserted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cases import OPERATOR_SUITE, SAMPLED, Case, select_cases
from benchmarks.conformance import Oracle, largest_error, spared_share
from benchmarks.files import DataFiles
from benchmarks.markdown import BEGIN, END, write_page
from benchmarks.operators import OPERATORS
from benchmarks.peers import OURS, PEERS, Entry, entries_of
from benchmarks.results import Measurement, Report
from benchmarks.summary import Summary
from benchmarks.tables import compare_ours, make_rows
from benchmarks.workers import openvino_plain, ours
from benchmarks.workers.work import Inputs
from benchmarks.workloads import make_data
from tests.benchmarks.test_harness import CASE, SMALL


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_our_worker_answers_every_operator(operator: str, layout: str, tmp_path: Path) -> None:
    """As the oracle does, which takes arrays in float64; forward and, where they are measured, both gradients."""
    workload = replace(SMALL, levels=SMALL.levels[:1], images=1, output_size=(2, 2))
    data = make_data(workload, gradient=True)
    directions = ["forward"] + ["backward-features", "backward-boxes"] * (operator in SAMPLED)
    files = DataFiles(workload, data, tmp_path)
    for direction in directions:
        case = Case("small", layout, "float32", "S2", direction, 1, operator)
        work = ours.prepare(Inputs(files.request(Entry(OURS, case, "reused"))))
        answer = [np.asarray(array, dtype=np.float64) for array in work.answer()]
        expected = Oracle(workload, data, 10**9).expected(case)
        assert largest_error(answer, expected) < 2e-6, direction
        assert largest_error([array * 1.001 for array in answer], expected) > 2e-6


def test_near_ties_are_spared_and_no_more() -> None:
    right = np.ones(1_000_000)
    answer = right.copy()
    answer[:10] = 2.0
    backward = Case("operators", "NHWC", "float32", "S0", "backward-features", 1, "max")
    assert largest_error([answer], [right], spared_share(backward)) == 0.0
    assert largest_error([answer], [right], spared_share(replace(backward, operator="rotated"))) == 1.0
    answer[10] = 1.5
    assert largest_error([answer], [right], spared_share(backward)) == 0.5
    answer[0] = np.nan
    assert largest_error([answer], [right], spared_share(backward)) == float("inf")


def test_a_peer_of_rotated_boxes_gives_our_answer(tmp_path: Path) -> None:
    """On two levels, so that every box keeps its angle."""
    workload = replace(SMALL, images=1)
    data = make_data(workload)
    case = Case("small", "NCHW", "float32", "S2", "forward", 1, "rotated")
    request = DataFiles(workload, data, tmp_path).request(Entry("openvino", case, "reused"))
    (answer,) = openvino_plain.prepare(Inputs(request)).answer()
    for level, features in enumerate(data.maps):
        chosen = data.level_of_roi == level
        one = replace(workload, levels=workload.levels[level : level + 1])
        (expected,) = Oracle(one, replace(data, maps=[features]), 10**9).expected(case)
        assert largest_error([answer[chosen]], [expected[chosen]]) < 2e-4


def test_peers_are_given_what_they_have() -> None:
    cases = select_cases(OPERATOR_SUITE, [], [1])
    given = {name: {entry.case.operator for entry in entries_of(cases, peer)} for name, peer in PEERS.items()}
    missing = sorted({"mean", *OPERATORS} - given[OURS])
    assert not missing, f"{missing}: add them to a selection of OPERATOR_SUITE in benchmarks/cases.py"
    assert given["openvino"] == {"mean", "rotated"}
    assert given["onnxruntime"] == {"mean", "onnx-max", "roi-pool"}
    assert given["torchvision"] == {"mean", "position-sensitive", "position-sensitive-pool", "roi-pool"}


def test_operators_are_held_against_roi_align_and_have_a_place_of_their_own(tmp_path: Path) -> None:
    mean = replace(CASE, workload="operators")
    times = {mean: 2.0, replace(mean, operator="max"): 5.0, replace(mean, operator="roi-pool"): 7.0}
    machine = {"cpu": "a", "cores": 2, "memory_gb": 4, "system": "b", "python": "3", "numpy": "2"}
    report = Report(machine, {}, {"date": "2000-01-01", "rounds": 1})
    for case, median in times.items():
        summary = Summary(median, median, median, 5, 1, 1.0)
        report.measurements.append(Measurement(Entry(OURS, case, "reused"), "measured", 1e-7, 2e-6, summary))
    assert [
        (item.case, item.ratios["over roi_align"])
        for item in compare_ours(make_rows(report))
        if "over roi_align" in item.ratios
    ] == [(replace(mean, operator="max"), 2.5)]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    write_page(page, report)
    assert "**operators, roi-pool, forward**" in page.read_text()
    assert page.read_text().endswith("after\n")
