"""The modules: the same answers as the functions, readable, copyable."""

from __future__ import annotations

import copy
import doctest
import inspect
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import roialign
import roialign.torch
from roialign.torch import CropAndResize, MultiScaleRoIAlign, PrRoIPool, RoIAlign
from roialign.torch.modules import separable as modules
from tests.tables.tensors import SCALES, features, pyramid, rois

IMAGES = torch.tensor([0, 1, 1])
BOXES = rois()[:, 1:]

#: A module, what it shows, what it is given, and the function's answer.
MODULES: list[tuple[nn.Module, str, tuple[Any, ...], dict[str, Any], Any]] = [
    (
        RoIAlign((2, 3), 0.25, 2, aligned=False),
        "RoIAlign(output_size=(2, 3), spatial_scale=0.25, sampling_ratio=2, aligned=False)",
        (features(), BOXES),
        {"batch_indices": IMAGES},
        roialign.roi_align(features(), BOXES, (2, 3), 0.25, 2, aligned=False, batch_indices=IMAGES),
    ),
    (
        MultiScaleRoIAlign(7, SCALES, canonical_level=3),
        "MultiScaleRoIAlign(output_size=7, spatial_scales=[0.25, 0.125], canonical_level=3)",
        (pyramid(), rois()),
        {"levels": IMAGES},
        roialign.multiscale_roi_align(pyramid(), rois(), 7, SCALES, levels=IMAGES),
    ),
    (
        PrRoIPool(2, 0.25),
        "PrRoIPool(output_size=2, spatial_scale=0.25)",
        (features(), rois()),
        {},
        roialign.prroi_pool(features(), rois(), 2, 0.25),
    ),
    (
        CropAndResize((3, 2), extrapolation_value=1.5, layout="NCHW"),
        "CropAndResize(crop_size=(3, 2), extrapolation_value=1.5, layout='NCHW')",
        (features(), BOXES / 40, IMAGES),
        {},
        roialign.crop_and_resize(features(), BOXES / 40, IMAGES, (3, 2), extrapolation_value=1.5, layout="NCHW"),
    ),
]
every_module = pytest.mark.parametrize(
    ("module", "shown", "arguments", "more", "answer"), MODULES, ids=[type(row[0]).__name__ for row in MODULES]
)


@every_module
def test_answer_and_repr_of_the_module_and_its_copies(
    module: nn.Module, shown: str, arguments: Any, more: Any, answer: Any
) -> None:
    for copied in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module)), nn.Sequential(module)[0]):
        assert repr(copied) == shown
        assert torch.equal(copied(*arguments, **more), answer)
    assert not list(module.parameters())
    assert not module.state_dict()


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (RoIAlign, roialign.roi_align),
        (MultiScaleRoIAlign, roialign.multiscale_roi_align),
        (PrRoIPool, roialign.prroi_pool),
        (CropAndResize, roialign.crop_and_resize),
    ],
)
def test_arguments_are_those_of_the_function(module: type[nn.Module], function: Any) -> None:
    """In one of the two calls, with the same defaults; `out` is for functions only."""
    of_module = dict(inspect.signature(module).parameters)
    of_call = inspect.signature(module.forward).parameters
    for name, parameter in inspect.signature(function).parameters.items():
        if name != "out":
            given = of_module.get(name, of_call.get(name))
            assert given is not None, name
            assert given.default == parameter.default, name


def test_examples_run() -> None:
    result = doctest.testmod(modules)
    assert result.failed == 0
    assert result.attempted > 10


def test_what_is_exported_is_documented() -> None:
    for name in roialign.torch.__all__:
        assert "Concretely, " in (inspect.getdoc(getattr(roialign.torch, name)) or ""), name
