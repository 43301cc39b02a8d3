"""The table of ways to record: every cell answers other inputs than it was recorded with, or raises its error."""

from __future__ import annotations

import pytest
import torch

from tests.torch.recording.limits import LIMITS, limit_of
from tests.torch.recording.models import NAMES, model_of
from tests.torch.recording.page import PAGE, render
from tests.torch.recording.ways import SLOW, WAYS

pytestmark = [
    # Of torch and of what it calls, none of which is about what is recorded.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch._dynamo"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.onnx"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxscript"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:copyreg"),
    pytest.mark.filterwarnings("ignore:Constant folding:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]

#: Of the ways that take seconds a model, the models that make test and make test-all record; make test-recording runs
#: all.
QUICK = {
    "torch.compile": [("roialign", "multiscale_roi_align"), ("roialign.compat.torchvision", "MultiScaleRoIAlign")],
    "ONNX": [("roialign", "roi_align")],
}
CHOSEN = {
    "inductor": [("roialign.compat.detectron2", "ROIPooler, ROIPool")],
    "AOTInductor": [("roialign.torch", "DeformRoIPoolPack")],
    "ONNX": [("roialign.compat.mmcv", "roi_pool")],
}


def _marks(way: str, cell: tuple[str, str]) -> list[pytest.MarkDecorator]:
    if way not in SLOW or cell in QUICK.get(way, []):
        return []
    return [pytest.mark.slow if cell in CHOSEN.get(way, []) else pytest.mark.exhaustive]


CELLS = [
    pytest.param(
        way,
        *cell,
        id=f"{way}-{cell[0]}-{cell[1]}",
        marks=_marks(way, cell),
    )
    for way in WAYS
    for cell in NAMES
]


@pytest.mark.parametrize(("way", "group", "name"), CELLS)
def test_cell(way: str, group: str, name: str) -> None:
    model, number = model_of(group, name), limit_of(way, (group, name))
    if number is None:
        answer, expected = WAYS[way](model)
        if isinstance(expected, tuple):  # outlines
            assert answer == expected
        else:
            torch.testing.assert_close(answer, expected, rtol=1e-5, atol=2e-5)
        return
    limit = LIMITS[number]
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the exporter wraps it: what it was raised from counts
        WAYS[way](model)
    chain = [caught.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert any(isinstance(error, limit.error) for error in chain), chain
    assert any(limit.text in str(error) for error in chain), [str(error) for error in chain]


def test_every_limit_is_met() -> None:
    met = {limit_of(way, cell) for way in WAYS for cell in NAMES}
    assert met == {None, *range(len(LIMITS))}


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == render(), "python -m tests.torch.recording.page writes it anew"


def test_a_program_that_answers_something_else_is_seen() -> None:
    answer, _ = WAYS["torch.fx"](model_of("roialign", "roi_align"))
    _, expected = WAYS["torch.fx"](model_of("roialign", "roi_align, exact"))
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(answer, expected, rtol=1e-5, atol=2e-5)
