"""The pictures of the steps, and the labels of boxes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from roialign.extract.drawing import Window, label_boxes
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


def labels_of(*windows: Window) -> tuple[Any, list[Any]]:
    """Label boxes on axes from (0, 0) to (100, 100). Returns the axes and the places of the labels, in pixels."""
    figure = Figure(figsize=(5, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0, 100)
    axes.set_ylim(100, 0)
    label_boxes(axes, [(window, f"label {index}", "#000000") for index, window in enumerate(windows)])
    places = [text.get_window_extent() for text in axes.texts]
    assert len(places) == len(windows)
    return axes, places


def test_labels_do_not_cover_each_other() -> None:
    _, places = labels_of(Window(10, 10, 60, 60), Window(12, 12, 70, 70), Window(9, 11, 60, 90))
    assert not any(a.overlaps(b) for a, b in itertools.combinations(places, 2))


@pytest.mark.parametrize(("left", "top"), [(50, 50), (0, 0), (93, 93), (0, 93)])
def test_the_label_of_a_small_box_does_not_hide_it(left: float, top: float) -> None:
    axes, (label,) = labels_of(Window(left, top, left + 6, top + 6))
    (x0, y0), (x1, y1) = axes.transData.transform([(left, top + 6), (left + 6, top)])
    assert label.x0 >= x1 or label.x1 <= x0 or label.y0 >= y1 or label.y1 <= y0
    assert axes.bbox.x0 <= label.x0
    assert label.x1 <= axes.bbox.x1


def test_the_label_of_a_large_box_is_in_it() -> None:
    axes, (label,) = labels_of(Window(10, 10, 90, 90))
    (x0, y0), (x1, y1) = axes.transData.transform([(10, 90), (90, 10)])
    assert x0 < label.x0 < label.x1 < x1
    assert y0 < label.y0 < label.y1 < y1
