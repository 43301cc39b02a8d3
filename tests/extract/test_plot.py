"""The pictures of the steps."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roialign.extract.inputs import InputError
from roialign.extract.pipeline import Settings
from roialign.extract.plot import plot_roi_align
from roialign.extract.steps import roi_steps
from roialign.reference import bilinear
from tests.extract.extraction import maps_on_disk
from tests.files.boxes import box
from tests.tables.paths import EXAMPLES


@pytest.mark.parametrize("sampling", ["grid", "exact", "random"])
def test_the_points_that_are_drawn_give_the_answer_that_is_drawn(tmp_path: Path, sampling: str) -> None:
    groups, maps = maps_on_disk(tmp_path, np.float64)
    path, boxes = next(iter(groups.items()))
    settings = Settings(output_size=(3, 4), sampling=sampling, seed=5, sampling_ratio=(2, 3))
    steps = roi_steps(settings.read(path), boxes, 2, settings)
    features = maps[path]
    for row, column in itertools.product(range(3), range(4)):
        total = np.zeros(len(features))
        for (y, y_share), (x, x_share) in itertools.product(steps.y.points[row], steps.x.points[column]):
            for (i, y_weight), (j, x_weight) in itertools.product(
                bilinear(y, 9, "replicate"), bilinear(x, 12, "replicate")
            ):
                total += y_share * x_share * y_weight * x_weight * features[:, i, j]
        np.testing.assert_allclose(steps.aligned[:, row, column], total, atol=1e-12)
        (top, bottom), (left, right) = steps.y.rounded[row], steps.x.rounded[column]
        np.testing.assert_array_equal(steps.rounded[:, row, column], features[:, top:bottom, left:right].max((1, 2)))


@pytest.mark.parametrize(
    ("name", "corners", "settings"),
    [
        ("photograph", (176.5, 62.0, 275.5, 191.5), Settings(stride=8)),
        ("photograph", (176.5, 62.0, 275.5, 191.5), Settings(sampling="grid", sampling_ratio=(2, 2))),
        ("map", (-100.0, 50.0, 300.0, 5000.0), Settings(spatial_scale=1 / 16)),  # far over the border
        ("map", (9.0, 9.0, 2.0, 9.0), Settings(output_size=(1, 30), sampling="grid")),  # inverted, and no points
        ("map", (100.0, 100.0, 120.0, 130.0), Settings(layout="NHWC")),  # off the map
    ],
)
def test_a_picture_of_any_box(
    tmp_path: Path, name: str, corners: tuple[float, float, float, float], settings: Settings
) -> None:
    path = EXAMPLES / "astronaut.png"
    if name == "map":
        path = tmp_path / "map.npy"
        features = np.random.default_rng(4).normal(size=(20, 30, 25)).astype(np.float16)
        features[3, 4, 5], features[2, 6, 6] = np.inf, np.nan
        np.save(path, features)
    boxes = [box(0, (1, 1, 9, 9), label="$a$ \\b"), box(1, corners, label="\N{SNOWMAN}[b]" * 20)]
    plot_roi_align(tmp_path / "picture.png", path, boxes, 1, settings)
    with Image.open(tmp_path / "picture.png") as picture:
        assert min(picture.size) > 1000
        drawn = np.asarray(picture.convert("RGB"))
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):  # RoIAlign's and RoIPool's
        assert (drawn == colour).all(axis=2).sum() > 500
    assert sorted(os.listdir(tmp_path)) == sorted({"picture.png", path.name} & {"picture.png", "map.npy"})


def test_a_box_too_large_for_a_picture_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"boxes.csv, row 0: expected a box within 1e\+07 pixels"):
        plot_roi_align(tmp_path / "p.png", EXAMPLES / "astronaut.png", [box(0, (0, 0, 1e100, 1))], 0, Settings())
    assert os.listdir(tmp_path) == []
