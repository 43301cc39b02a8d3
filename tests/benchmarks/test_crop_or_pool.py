"""Crop against pool: the scenes, both ways to features, the figures, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.crop_or_pool.encoders import LEVELS, Way, encode
from benchmarks.crop_or_pool.page import write_page
from benchmarks.crop_or_pool.run import Plan, measure
from benchmarks.crop_or_pool.scenes import NOTHING, SIDE, Boxed, draw_scenes, write_pieces
from benchmarks.crop_or_pool.scores import bootstrap, likenesses, rank_correlations, ratio, retrieval
from roialign.features import BackboneOptions, make_backbone
from tests.tables.paths import DOCS


def test_retrieval_worked_out_by_hand() -> None:
    """Two scenes: each has object 0 and object 1, and the second has a box around nothing that looks like object 1."""
    features = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.6, 0.8], [0.0, 1.0]])
    labels, scenes = np.array([0, 1, 0, 1, NOTHING]), np.array([0, 0, 1, 1, 1])
    cosines = likenesses(features, scenes)
    assert np.isinf(cosines[0, 1])
    rows, first, recall = retrieval(cosines, labels)
    assert rows.tolist() == [0, 1, 2, 3]
    assert first.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert recall.tolist() == [1.0, 0.0, 1.0, 1.0]
    np.testing.assert_allclose(rank_correlations(cosines, cosines, rows), 1)
    np.testing.assert_allclose(rank_correlations(cosines, -cosines, rows), -1)


def test_recall_is_the_share_among_as_many_as_there_are() -> None:
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    rows, first, recall = retrieval(likenesses(features, np.arange(4)), np.array([0, 0, 0, 1]))
    assert rows.tolist() == [0, 1, 2], "object 1 is in one scene only"
    assert first[:2].tolist() == [1.0, 1.0]
    assert recall[:2].tolist() == [0.5, 0.5]


def test_intervals_are_those_of_scenes() -> None:
    found = bootstrap([0.0, 1.0] * 50)
    assert found.mean == 0.5
    assert found.low == pytest.approx(0.4, abs=0.02), "1.96 standard errors, of which each is 0.05"
    assert found.high == pytest.approx(0.6, abs=0.02)
    assert bootstrap([1.0, 4.0], [2.0, 1.0]).mean == 2.0
    assert ratio([2.0, 4.0], [1.0, 2.0]) == (2.0, 2.0, 2.0)


def test_scenes_have_the_objects_that_they_say(tmp_path: Path) -> None:
    assert write_pieces(tmp_path) > 50
    few, many = (next(draw_scenes(tmp_path, 1, boxes, seed=0)) for boxes in (5, 40))
    assert few.boxes.shape == (5, 4)
    assert many.boxes.shape == (40, 4)
    assert (many.labels == NOTHING).sum() >= 20
    assert (many.boxes[:, :2] < many.boxes[:, 2:]).all()
    assert ((many.boxes >= 0) & (many.boxes <= SIDE)).all()
    np.testing.assert_array_equal(many.boxes, next(draw_scenes(tmp_path, 1, 40, seed=0)).boxes)


def test_both_ways_agree_on_a_box_that_is_the_whole_image() -> None:
    """Nothing is left that could differ but the border, where RoIAlign's weights are smaller."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (10, 10, 3)).repeat(64, axis=0).repeat(64, axis=1).astype(np.uint8)
    scene = Boxed(coarse, np.array([[0.0, 0.0, 640.0, 640.0]]), np.array([0]))
    backbone = make_backbone("efficientnet-lite0", BackboneOptions(threads=1))
    crop, pool = (encode(backbone, scene, way).features for way in (Way("crop", 640), Way("pool", 640)))
    for one, other, level in zip(crop, pool, LEVELS, strict=True):
        assert one.shape == other.shape == (1, backbone.channels[level])
        cosine = float((one @ other.T)[0, 0] / np.linalg.norm(one) / np.linalg.norm(other))
        assert cosine > 0.995


def test_a_small_run_gives_a_page() -> None:
    calls: list[int] = []
    plan = Plan(scenes=((5, 5),), ways=(Way("crop", 224), Way("crop", 112), Way("pool", 640)))
    report = {"minutes": 1, "machine": "a machine", "draws": 2000, **measure(plan, lambda: calls.append(1))}
    assert len(calls) == 5
    assert {(cell["way"], cell["level"]) for cell in report["cells"]} == {
        (way, level) for way in ("crop 224", "crop 112", "pool 640") for level in ("stride 16", "head")
    }
    for cell in report["cells"]:
        assert 0 < cell["queries"] < 25
        assert np.isnan(cell["recall_small"].mean) or 0 <= cell["recall_small"].mean <= 1
        assert cell["recall"].low <= cell["recall"].mean <= cell["recall"].high
        if cell["way"] == "crop 224":
            assert cell["factor"] == (1, 1, 1)
            assert cell["cosine"].mean == pytest.approx(1)
    assert "synthetic" in write_page(report)


def test_the_page_is_written_from_its_data() -> None:
    report = json.loads((DOCS / "crop-or-pool.json").read_text())
    assert write_page(report) == (DOCS / "crop-or-pool.md").read_text(encoding="utf-8")
    assert [count for count, _ in report["scenes"]] == [5, 20, 100]
