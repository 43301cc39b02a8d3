"""Calls that have an answer and are probably a mistake."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import roialign
from roialign import RoIWarning

MAP = np.arange(2 * 3 * 20 * 24, dtype=np.float64).reshape(2, 3, 20, 24)
GOOD = np.array([[0, 16.0, 16.0, 200.0, 160.0], [1, 40.0, 32.0, 100.0, 90.0]])
#: (x, y, width, height) in the place of corners.
WIDTHS = np.array([[0, 16.0, 16.0, 184.0, 144.0], [1, 240.0, 200.0, 60.0, 58.0]])
FAR = GOOD + np.array([0, 1e4, 0, 1e4, 0])
SCALE = 1 / 16


def both(function: Callable[..., Any]) -> Any:
    """The same call from both frameworks."""

    def arrays() -> Any:
        return function(MAP, np.asarray)

    def tensors() -> Any:
        return function(torch.from_numpy(MAP), torch.from_numpy)

    return pytest.mark.parametrize("call", [pytest.param(arrays, id="numpy"), pytest.param(tensors, id="torch")])


def said(call: Callable[[], Any]) -> list[str]:
    """What the call warns of; its answer is that of a call that does not warn."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RoIWarning)
        call()
    assert {warning.category for warning in caught} <= {RoIWarning}
    assert all(warning.filename == __file__ for warning in caught), "the line of the caller is named"
    return [str(warning.message) for warning in caught]


@both(lambda features, of: roialign.roi_align(features, of(GOOD), 7, SCALE))
def test_an_ordinary_call_says_nothing(call: Callable[[], Any]) -> None:
    assert said(call) == []


@both(lambda features, of: roialign.roi_align(features, of(WIDTHS), 7, SCALE))
def test_inverted_boxes(call: Callable[[], Any]) -> None:
    (message,) = said(call)
    assert message.startswith(
        "rois: 1 box of 2 with x2 < x1 or y2 < y1; the first is (x1, y1, x2, y2) = (240.0, 200.0,"
    )
    assert "(x, y, width, height)" in message
    assert message.endswith("silence this with warnings.filterwarnings('ignore', category=roialign.RoIWarning)")


@both(lambda features, of: roialign.roi_align(features, of(GOOD), 7, 16))
def test_the_stride_in_the_place_of_the_scale(call: Callable[[], Any]) -> None:
    (message,) = said(call)
    assert "rois: no box touches its map of 20 x 24 pixels" in message
    assert "this looks like a stride: for stride 16, give 1 / 16" in message


@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "prroi_pool", "ps_roi_align", "ps_roi_pool"])
@pytest.mark.parametrize("mode", ["numpy", "torch"])
def test_every_operator_of_boxes_warns(name: str, mode: str) -> None:
    features = np.ones((2, 4, 20, 24)) if mode == "numpy" else torch.ones(2, 4, 20, 24)
    rois = WIDTHS if mode == "numpy" else torch.from_numpy(WIDTHS)
    (message,) = said(lambda: getattr(roialign, name)(features, rois, 2, spatial_scale=SCALE))
    assert "1 box of 2" in message
    (message,) = said(
        lambda: getattr(roialign, name)(features, np.abs(GOOD) if mode == "numpy" else GOOD_TENSOR, 2, 16)
    )
    assert "no box touches" in message


GOOD_TENSOR = torch.from_numpy(GOOD)


@both(
    lambda features, of: roialign.multiscale_roi_align(
        [features, features[:, :, ::2, ::2]], of(GOOD), 7, [16, 8], canonical_size=20, canonical_level=-3
    )
)
def test_a_pyramid(call: Callable[[], Any]) -> None:
    (message,) = said(call)
    assert (
        "spatial_scales: expected feature pixels per image pixel, got 16, 8; this looks like a stride: for stride 16"
        in message
    )


def test_a_module_names_the_line_that_calls_it() -> None:
    module = roialign.torch.RoIAlign(7, SCALE)
    (message,) = said(lambda: module(torch.from_numpy(MAP), torch.from_numpy(WIDTHS)))
    assert message.startswith("rois: 1 box of 2 with x2 < x1")


def test_rotated_boxes() -> None:
    boxes = np.array([[0, 100.0, 100.0, 40.0, 30.0, 0.5], [1, 100.0, 100.0, -40.0, 30.0, 0.5]])
    (message,) = said(lambda: roialign.roi_align_rotated(MAP, boxes, 2, SCALE))
    assert (
        "1 box of 2 with a negative width or height; the first is (centre x, centre y, width, height, angle in radians)"
        in message
    )
    (message,) = said(lambda: roialign.roi_align_rotated(MAP, boxes[:1], 2, 16))
    assert "no box touches" in message
    assert said(lambda: roialign.roi_align_rotated(MAP, np.array([[0, -40.0, 100.0, 120.0, 1.0, 0.0]]), 2, SCALE)) == []


@pytest.mark.parametrize(
    "box", [[0, -40.0, 5.0, 8.0, 60.0], [1, 370.0, 100.0, 383.0, 150.0], [0, 50.0, 50.0, 50.0, 50.0]]
)
def test_a_box_that_touches_its_map_at_the_edge_is_no_mistake(box: list[float]) -> None:
    assert said(lambda: roialign.roi_align(MAP, np.array([box]), 2, SCALE)) == []


def test_one_good_box_is_enough() -> None:
    rois = np.concatenate([GOOD, FAR])
    assert said(lambda: roialign.roi_align(MAP, rois, 2, SCALE)) == []


def test_no_boxes_and_boxes_without_an_image() -> None:
    assert said(lambda: roialign.roi_align(MAP, np.zeros((0, 5)), 2, SCALE)) == []
    assert said(lambda: roialign.roi_align(MAP, GOOD + np.array([9, 0, 0, 0, 0]), 2, SCALE, invalid="zero")) == []


def test_offsets_may_move_bins_anywhere() -> None:
    offset = np.zeros((2, 2, 2, 2))
    assert said(lambda: roialign.deform_roi_pool(MAP, FAR, offset, 2, SCALE)) == []


def test_crops_and_points_may_lie_outside() -> None:
    flipped = np.array([[0.9, 0.9, 0.1, 0.1], [3.0, 3.0, 4.0, 4.0]])
    assert said(lambda: roialign.crop_and_resize(MAP, flipped, np.array([0, 1]), 2, layout="NCHW")) == []
    assert said(lambda: roialign.bilinear_interpolate(MAP, np.array([900.0]), np.array([900.0]))) == []


@both(lambda features, of: roialign.roi_align(features, of(GOOD), 7, SCALE, 2, sampling="exact"))
def test_a_sampling_ratio_with_exact_sampling(call: Callable[[], Any]) -> None:
    (message,) = said(call)
    assert message.startswith("sampling_ratio: 2 is ignored with sampling='exact'")


@both(lambda features, of: roialign.roi_align(features, of(GOOD), 7, SCALE, 300, mode="max", sampling="exact"))
def test_a_sampling_ratio_with_exact_maxima(call: Callable[[], Any]) -> None:
    (message,) = said(call)
    assert message.startswith("sampling_ratio: 300 is ignored with sampling='exact'")


@both(lambda features, of: roialign.roi_align(features, of(GOOD), 7, SCALE, seed=3))
def test_a_seed_without_random_sampling(call: Callable[[], Any]) -> None:
    (message,) = said(call)
    assert message.startswith("seed: 3 is ignored unless sampling='random'")


def test_the_assignment_with_given_levels() -> None:
    levels = np.zeros(2, dtype=np.int64)
    (message,) = said(lambda: roialign.multiscale_roi_align([MAP], GOOD, 7, [SCALE], levels=levels, canonical_size=112))
    assert message.startswith("canonical_size, canonical_level: (112, 4) is ignored if levels is given")


def test_backward_does_not_warn_again() -> None:
    pooled = np.ones((2, 3, 7, 7))
    assert said(lambda: roialign.roi_align_backward(pooled, MAP, WIDTHS, SCALE, 2, sampling="exact")) == []


def test_gradients_warn_once() -> None:
    features = torch.from_numpy(MAP).requires_grad_()
    assert len(said(lambda: roialign.roi_align(features, torch.from_numpy(WIDTHS), 7, SCALE).sum().backward())) == 1


def wrong(features: Any, rois: Any) -> Any:
    return roialign.roi_align(features, rois, 7, 16, 2, sampling="exact")


def test_nothing_that_records_or_batches_warns() -> None:
    features, rois = torch.from_numpy(MAP), torch.from_numpy(WIDTHS)
    compiled = torch.compile(wrong, backend="eager", fullgraph=True)
    assert said(lambda: compiled(features, rois)) == []
    assert said(lambda: compiled(features, rois)) == [], "nor when it runs"
    assert said(lambda: roialign.roi_align(features, torch.from_numpy(GOOD), 7, SCALE)) == [], "nor does the next call"
    many = torch.stack([rois, rois])
    assert said(lambda: torch.func.vmap(wrong, in_dims=(None, 0))(features, many)) == []
    module = type("Wrong", (torch.nn.Module,), {"forward": lambda _, f, r: wrong(f, r)})()
    assert said(lambda: torch.export.export(module, (features, rois))) == []


def test_threads_do_not_hear_each_other() -> None:
    features, good = torch.from_numpy(MAP), torch.from_numpy(GOOD)
    stop = threading.Event()

    def shout() -> None:
        while not stop.is_set():
            roialign.roi_align(features, good, 7, 16)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread = threading.Thread(target=shout)
        thread.start()
        try:
            from roialign._warnings import last_call

            for _ in range(200):
                roialign.roi_align(features, good, 7, SCALE, backend="cpu")  # a plain call would not look
                assert last_call.report is None
        finally:
            stop.set()
            thread.join()
