"""The experiment on rotated boxes: what its heads receive, its figures by aspect ratio, and its section of the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.localisation.aspect_ratios import RATIOS, by_aspect_ratio
from benchmarks.localisation.first_stage import MOVED, Seen, moved_boxes
from benchmarks.localisation.heads import new_heads, proposals_for
from benchmarks.localisation.report import compact, read_report, write_report
from benchmarks.localisation.rotated_page import section
from benchmarks.localisation.rotated_plan import ALIGN, FULL, HEADS, POOL, ROTATED, SMALL, UPRIGHT
from benchmarks.localisation.run import read_results, run, run_cell
from benchmarks.localisation.statistics import OVERLAPS
from benchmarks.localisation.whole_page import PAGE, ROTATED_REPORT, whole_page
from roialign.detection import box_kinds
from roialign.detection.poolers import HullPooler
from roialign.detection.rotated_boxes import corners, hulls
from roialign.torch import MultiScaleRoIAlignRotated
from tests.detection.test_rotated_precision import dataset_of
from tests.tables.paths import DOCS

TINY = replace(
    SMALL,
    seeds=(0,),
    poolers=(POOL, ROTATED, UPRIGHT),
    train_images=4,
    test_images=2,
    backbone_iterations=2,
    head_iterations=2,
    batch_size=2,
    detector={**SMALL.detector, "width": 8, "hidden": 16},
)
(CELL,) = TINY.cells()


def test_heads_differ_in_what_they_compare_only() -> None:
    heads = {name: new_heads(FULL, CELL, name) for name in HEADS}
    first = heads[POOL].state_dict()
    for name in (ALIGN, ROTATED):
        weights = heads[name].state_dict()
        assert weights.keys() == first.keys()
        assert all(torch.equal(weights[key], value) for key, value in first.items())
    assert isinstance(heads[ROTATED].box_pooler, MultiScaleRoIAlignRotated)
    assert isinstance(heads[ALIGN].box_pooler, HullPooler)
    upright = heads[UPRIGHT].state_dict()
    alike = [key for key, value in first.items() if key in upright and upright[key].shape == value.shape]
    assert len(alike) >= len(first) - 2, "all but the layer that predicts offsets"
    assert all(torch.equal(upright[key], first[key]) for key in alike)


def test_heads_of_upright_boxes_receive_hulls() -> None:
    seen = Seen(torch.zeros(1, 1, 2, 2), [torch.tensor([[90.0, 90, 60, 10, 0.5], [2, 90, 60, 10, 0.5]])])
    assert proposals_for(new_heads(TINY, CELL, ROTATED), seen) is seen.proposals
    (boxes,) = proposals_for(new_heads(TINY, CELL, UPRIGHT), seen)
    expected = hulls(seen.proposals[0])
    assert torch.equal(boxes[0], expected[0])
    assert boxes[1].tolist() == [0, *expected[1, 1:].tolist()]


def test_copies_of_rotated_boxes_are_turned() -> None:
    boxes = torch.tensor([[90.0, 90, 60, 10, 0.5]])
    copies = moved_boxes(boxes, box_kinds.ROTATED, torch.Generator().manual_seed(0))
    assert copies.shape == (MOVED, 5)
    turns = (copies[:, 4] - 0.5).abs()
    assert 0.01 < turns.mean() < 0.3
    assert 0.1 < (copies[:, :2] - boxes[:, :2]).abs().mean() < 20


def _row(box: list[float], score: float) -> dict[str, Any]:
    outline = corners(torch.tensor(box, dtype=torch.float64)).flatten().tolist()
    return {"image_id": 1, "category_id": 1, "score": score, "segmentation": [outline]}


def test_figures_by_aspect_ratio_by_hand(tmp_path: Path) -> None:
    """A square that is found, and two bars of which one is found, after something wrong of the shape of a square."""
    square, bar, other = [40.0, 40, 30, 25, 0.3], [120.0, 40, 60, 10, 0.3], [120.0, 120, 60, 10, 0.3]
    dataset = dataset_of(tmp_path, [(1, 1, box, {}) for box in (square, bar, other)])
    wrong = [40.0, 150, 30, 25, 0.3]
    found = by_aspect_ratio(dataset, [_row(wrong, 0.9), _row(square, 0.8), _row(bar, 0.7)])
    assert list(found) == [f"ratio {name}" for name in RATIOS]
    assert found["ratio 1 to 2"]["AP"] == pytest.approx(0.5), "the wrong one counts"
    assert found["ratio 2 to 4"]["AP"] is None
    assert found["ratio 4 or more"]["AP_by_iou"]["0.75"] == pytest.approx(51 / 101), "and here it does not"


def _result(head: str, seed: int, value: float, name: str) -> dict[str, Any]:
    figures = {"AP": value, "AP_by_iou": dict.fromkeys(OVERLAPS, value)}
    ratios = {f"ratio {ratio}": figures if ratio != "2 to 4" else {"AP": None, "AP_by_iou": {}} for ratio in RATIOS}
    ratios["ratio 2 to 4"]["AP_by_iou"] = dict.fromkeys(OVERLAPS)
    return {"set": name, "stride": 16, "seed": seed, "pooler": head, "rotated_box": figures, **ratios}


@pytest.mark.parametrize(
    ("gain", "words"), [(0.10, "angle helps."), (-0.10, "angle hurts."), (0.0, "does not show that the alignment")]
)
def test_the_section_says_what_the_figures_say(gain: float, words: str, tmp_path: Path) -> None:
    values = {POOL: 0.2, ALIGN: 0.3, ROTATED: 0.3 + gain, UPRIGHT: 0.05}
    results = [
        _result(head, seed, value + 0.01 * (seed - 1) * (head == ROTATED), name)
        for name in FULL.sets
        for seed in FULL.seeds
        for head, value in values.items()
    ]
    report = {"machine": "a machine", "minutes": 3, "plan": FULL.to_dict(), "results": list(map(compact, results))}
    text = " ".join(section(report).split())
    assert "took 3 minutes on a machine, which" in text
    assert " ran on a machine, which" in " ".join(section({**report, "minutes": 0.0}).split()), "the time is unknown"
    assert words in text.partition("`python -m")[0]
    assert f"changes AP75 by {100 * gain:+.1f}" in text or gain == 0
    assert "RoIPool, both of the hull, changes it by +10.0" in text
    assert (
        f"| both | RoIAlign instead of RoIPool, both of the hull | {' | '.join(['+10.0 [+10.0, +10.0]'] * 3)} |" in text
    )
    assert "| 2 to 4 | AP50 | - | - | - | - | - |" in text
    write_report(tmp_path / ROTATED_REPORT, json.loads(json.dumps(report)))
    (tmp_path / "localisation.json").write_bytes((DOCS / "localisation.json").read_bytes())
    assert section(read_report(tmp_path / ROTATED_REPORT)) in whole_page(tmp_path)


def test_the_page_is_written_from_its_figures() -> None:
    assert (DOCS / PAGE).read_text() == whole_page(DOCS)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    told: list[int] = []
    whole = run(tmp_path / "whole", TINY, 1, told.append)
    assert told[-1] == len(whole) == 3
    assert all({"rotated_box", "ratio 4 or more"} <= set(result) for result in whole)
    run_cell(tmp_path / "parts", replace(TINY, poolers=TINY.poolers[:1]), CELL)  # stopped after the first head
    kept = next((tmp_path / "parts" / "results").glob("*hull.json"))
    kept.write_text(json.dumps({**whole[0], "kept": True}))
    run_cell(tmp_path / "parts", TINY, CELL)
    assert read_results(tmp_path / "parts", TINY) == [{**whole[0], "kept": True}, *whole[1:]]
