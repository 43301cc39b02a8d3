"""The experiment on alignment: paired trainings, resumed runs, differences worked out by hand, boxes that slide."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import equivariance
from benchmarks.localisation import offsets
from benchmarks.localisation.heads import new_heads
from benchmarks.localisation.page import write_page
from benchmarks.localisation.plan import FULL, POOLERS, SMALL, Cell
from benchmarks.localisation.report import compact, read_report
from benchmarks.localisation.run import OtherPlanError, read_results, run, run_cell
from benchmarks.localisation.statistics import OVERLAPS, difference_of, metric, paired, paired_by_seed
from benchmarks.localisation.whole_page import whole_page
from tests.tables.paths import DOCS

TINY = replace(
    SMALL,
    seeds=(0,),
    poolers=("RoIPool", "deformable"),
    train_images=4,
    test_images=2,
    backbone_iterations=2,
    head_iterations=2,
    batch_size=2,
    detector={**SMALL.detector, "width": 8, "hidden": 16, "mask_hidden": 8},
)


def result_of(pooler: str, stride: int, seed: int, value: float, name: str = "plain") -> dict[str, Any]:
    """With the average precision `value` at every overlap, and a tenth of it at 0.75."""
    by_iou = {overlap: value if overlap != "0.75" else value / 10 for overlap in OVERLAPS}
    figures = {"AP": value, "AP_small": None, "AP_medium": value, "AP_large": value, "AP_by_iou": by_iou}
    return {"set": name, "stride": stride, "seed": seed, "pooler": pooler, "box": figures, "mask": figures}


def test_the_interval_is_students() -> None:
    found = difference_of([1.0, 2.0, 3.0])
    # The quantile of 2 degrees of freedom is 4.3027, and the standard error 1 / sqrt(3).
    assert (found.mean, found.pairs) == (2.0, 3)
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5)
    assert not found.is_sure
    assert difference_of([1.0, 1.1, 1.2]).is_sure
    assert difference_of([5.0]).low == -math.inf
    assert math.isnan(difference_of([math.nan]).mean)


def test_differences_are_taken_within_a_cell() -> None:
    results = [
        result_of("RoIPool", 32, 0, 0.10),
        result_of("RoIPool", 32, 1, 0.30),
        result_of("RoIPool", 16, 0, 0.90),
        result_of("exact", 32, 1, 0.35),
        result_of("exact", 32, 0, 0.12),
        result_of("exact", 32, 2, 0.99),  # without its twin
    ]
    gains = paired(results, "exact", "RoIPool", metric("box", "AP50"), stride=32)
    assert sorted(gains) == pytest.approx([2.0, 5.0])
    assert paired_by_seed(results, "exact", "RoIPool", metric("box", "AP50"), stride=32) == pytest.approx([2.0, 5.0])
    assert math.isnan(metric("box", "AP_small")(results[0]))


def test_an_end_near_zero_is_told_from_zero() -> None:
    assert str(difference_of([1.0, 2.0, 3.0])) == "+2.0 [-0.5, +4.5]"
    assert str(difference_of([-0.01, -0.02, -0.03])) == "-0.02 [-0.04, +0.00]"


@pytest.mark.parametrize(
    ("gain", "words"),
    [(0.10, "Alignment helps."), (-0.10, "Alignment hurts."), (0.0, "does not show a difference")],
)
def test_the_page_says_what_the_figures_say(gain: float, words: str) -> None:
    results = []
    for seed, noise in enumerate((-0.01, 0.0, 0.01)):
        results.append(result_of("RoIPool", 32, seed, 0.40))
        results.append(result_of("RoIAlign, 2 x 2", 32, seed, 0.40 + gain + noise))
    measured = read_report(DOCS / "localisation.json")["equivariance"]
    page = write_page(
        {"plan": FULL.to_dict(), "results": results, "equivariance": measured, "minutes": 5, "machine": "one machine"}
    )
    first_lines = " ".join(page.split("## ")[0].split())
    assert words in first_lines
    assert f"{10 * gain:+.1f}" in first_lines  # a tenth at 0.75
    grows = {0.10: "shrinks", -0.10: "grows", 0.0: "does not clearly grow or shrink"}[gain]
    assert f"From AP50 to AP75 the box gain in points {grows}" in first_lines


def test_the_page_is_written_from_its_figures() -> None:
    assert (DOCS / "localisation.md").read_text() == whole_page(DOCS)


def test_heads_begin_alike_whatever_the_pooler() -> None:
    cell = Cell("plain", 32, 0)
    first = new_heads(FULL, cell, "RoIPool").state_dict()
    for pooler in POOLERS:
        weights = new_heads(FULL, cell, pooler).state_dict()
        assert all(torch.equal(weights[name], value) for name, value in first.items())
    assert set(weights) > set(first), "the deformable pooler has weights of its own"
    other = new_heads(FULL, replace(cell, seed=1), "RoIPool").state_dict()
    assert not all(torch.equal(other[name], value) for name, value in first.items())


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    told: list[int] = []
    whole = run(tmp_path / "whole", TINY, 1, told.append)
    assert told[-1] == len(whole) == 2
    (cell,) = TINY.cells()
    run_cell(tmp_path / "parts", replace(TINY, poolers=TINY.poolers[:1]), cell)  # stopped after the first pooler
    (only,) = read_results(tmp_path / "parts", TINY)
    assert only == whole[0]
    kept = next((tmp_path / "parts" / "results").glob("*RoIPool.json"))
    kept.write_text(json.dumps({**only, "kept": True}))
    run_cell(tmp_path / "parts", TINY, cell)
    assert read_results(tmp_path / "parts", TINY) == [{**only, "kept": True}, whole[1]]
    assert not list((tmp_path / "parts" / "seen").iterdir()), "maps are large, and no longer needed"
    with pytest.raises(OtherPlanError, match="another plan"):
        run(tmp_path / "whole", replace(TINY, head_iterations=3), 1, told.append)
    assert set(compact(whole[0])["box"]["AP_by_iou"]) == set(OVERLAPS)


@pytest.mark.parametrize("stride", [4, 16])
def test_on_a_slope_exact_features_move_with_the_box(stride: int) -> None:
    y, x = np.mgrid[:256, :320] / 320
    slope = np.stack([x, y, x + 2 * y])
    errors = equivariance.sliding_errors(slope, stride, 7)
    assert max(errors["exact"]) < 1e-12
    assert max(errors["exact maximum"]) < 1e-12
    assert max(errors["RoIPool"]) > 0.02
    assert max(errors["RoIAlign, unaligned"]) > 0.02
    assert equivariance.sampling_errors(slope, stride, 7)["random, 1 point"] > 1e-3
    assert equivariance.sampling_errors(slope, stride, 7)["2 x 2"] < 1e-12


def test_a_whole_pixel_of_the_map_is_no_error() -> None:
    noise = np.random.default_rng(0).random((3, 200, 240))
    errors = equivariance.sliding_errors(noise, 8, 7)
    for name in ("exact", "exact maximum"):
        assert errors[name][0] < 1e-12
        assert errors[name][-1] < 1e-12
        assert max(errors[name]) > 0.1


@pytest.mark.usefixtures("one_thread")
def test_the_offsets_of_a_pooler_are_recorded(tmp_path: Path) -> None:
    """They start at zero; what is there is not done again; and the page is made of all of it."""
    plan = replace(TINY, strides=(16,))
    offsets.run_seed(tmp_path, plan, 0)
    paths = [offsets.result_path(tmp_path, 0, name) for name in offsets.VARIANTS]
    results = [json.loads(path.read_text()) for path in paths]
    assert [sorted(result["offsets"]) for result in results] == [
        [],
        *[["boxes", "masks"], ["boxes"]],
        *[["boxes", "masks"]] * 2,
    ]
    assert all(sizes == [0.0] for result in results for sizes in result["offsets"].values())
    assert ["mask without offsets" in result for result in results] == [False, True, False, False, False]
    before = [path.stat().st_mtime_ns for path in paths]
    offsets.run_seed(tmp_path, plan, 0)
    assert [path.stat().st_mtime_ns for path in paths] == before
    page = offsets.write_page({"machine": "a machine", "seeds": 1, "results": results})
    assert all(f"| {name} |" in page for name in offsets.VARIANTS)


def test_the_page_of_offsets_is_what_its_figures_give() -> None:
    report = json.loads((DOCS / "deformable.json").read_text())
    assert (DOCS / "deformable.md").read_text() == offsets.write_page(report)
    by_name = {name: [one for one in report["results"] if one["variant"] == name] for name in offsets.VARIANTS}
    full, slow = by_name["deformable, offsets at the full learning rate"], by_name["deformable, offsets at 0.1 of it"]
    assert (
        min(max(result["offsets"]["masks"]) for result in full)
        > 1
        > 20 * max(max(result["offsets"]["boxes"]) for result in slow)
    )
