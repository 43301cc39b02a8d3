"""The labels of boxes in pictures."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from roialign.files.drawing import Window, label_boxes


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
