"""Modules check their arguments when they are made, as far as these do not depend on the tensors of a call."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from roialign import RoIWarning
from roialign._warnings import without_warnings
from roialign.compat import detectron2, mmcv, torchvision
from roialign.torch import modules

#: Every module, made with a given size and other arguments.
MODULES: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(modules, name)
        for name in modules.__all__
        if not name.startswith("MultiScale") and not name.endswith("Pack")
    },
    "MultiScaleRoIAlign": lambda size, **more: modules.MultiScaleRoIAlign(size, [1.0, 0.5], **more),
    "MultiScaleRoIAlignRotated": lambda size, **more: modules.MultiScaleRoIAlignRotated(size, [1.0, 0.5], **more),
    "DeformRoIPoolPack": lambda size, **more: modules.DeformRoIPoolPack(size, 4, 8, **more),
    "ModulatedDeformRoIPoolPack": lambda size, **more: modules.ModulatedDeformRoIPoolPack(size, 4, 8, **more),
}
COMPAT: dict[str, Callable[..., Any]] = {
    "torchvision.RoIAlign": lambda size, scale=1.0: torchvision.RoIAlign(size, scale, 2),
    "torchvision.RoIPool": lambda size, scale=1.0: torchvision.RoIPool(size, scale),
    "torchvision.PSRoIAlign": lambda size, scale=1.0: torchvision.PSRoIAlign(size, scale, 2),
    "torchvision.PSRoIPool": lambda size, scale=1.0: torchvision.PSRoIPool(size, scale),
    "detectron2.ROIAlign": lambda size, scale=1.0: detectron2.ROIAlign(size, scale, 0),
    "detectron2.ROIAlignRotated": lambda size, scale=1.0: detectron2.ROIAlignRotated(size, scale, 0),
    "mmcv.RoIAlign": lambda size, scale=1.0: mmcv.RoIAlign(size, scale),
    "mmcv.PrRoIPool": lambda size, scale=1.0: mmcv.PrRoIPool(size, scale),
    "mmcv.SimpleRoIAlign": lambda size, scale=1.0: mmcv.SimpleRoIAlign(size, scale),
    "mmcv.RoIAlignRotated": lambda size, scale=1.0: mmcv.RoIAlignRotated(size, scale),
    "mmcv.RoIPool": lambda size, scale=1.0: mmcv.RoIPool(size, scale),
    "mmcv.DeformRoIPool": lambda size, scale=1.0: mmcv.DeformRoIPool(size, scale),
    "mmcv.DeformRoIPoolPack": lambda size, scale=1.0: mmcv.DeformRoIPoolPack(size, 4, 8, scale),
}
OTHERS: list[tuple[Callable[[], Any], str]] = [
    (lambda: modules.RoIAlign(2, mode="sum"), "mode: expected one of 'avg', 'max', got 'sum'"),
    (lambda: modules.RoIAlign(2, aligned=1), "aligned: expected True or False, got 1"),
    (
        lambda: modules.RoIAlign(2, 1.0, 257, mode="max"),
        "sampling_ratio: expected at most 256 with mode='max'",
    ),
    (lambda: modules.RoIAlign(2, sampling="random", seed="1"), "seed: expected an int or a numpy.random.Generator"),
    (lambda: modules.RoIAlignRotated(2, sampling="exact"), "sampling: expected 'grid' or 'random', got 'exact'"),
    (lambda: modules.MultiScaleRoIAlign(2, [0.0]), "spatial_scales[0]: expected a positive number, got 0.0"),
    (lambda: modules.MultiScaleRoIAlign(2, [1.0], canonical_size=0), "canonical_size: expected a positive number"),
    (lambda: modules.CropAndResize(2, "cubic"), "method: expected one of 'bilinear', 'nearest', got 'cubic'"),
    (lambda: modules.RiRoIAlignRotated(2, num_orientations=0), "num_orientations: expected at least 1, got 0"),
    (lambda: modules.DeformRoIPool(2, gamma="x"), "gamma: expected a number, got 'x'"),
    (lambda: modules.DeformRoIPoolPack(2, 0), "output_channels: expected at least 1, got 0"),
    (lambda: mmcv.RoIAlign(2, pool_mode="sum"), "pool_mode: expected one of 'avg', 'max', got 'sum'"),
    (lambda: mmcv.RiRoIAlignRotated(0, 1.0), "out_size: expected at least 1, got 0"),
    (lambda: torchvision.MultiScaleRoIAlign(["0", "1"], 2, "2"), "sampling_ratio: expected an int or a pair of ints"),
    (lambda: detectron2.ROIPooler(2, [1.0, 0.5], "2", "ROIAlign"), "sampling_ratio: expected an int or a pair of ints"),
]


def _error(call: Callable[[], Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert text in str(raised.value)


@pytest.mark.parametrize("name", [*MODULES, *COMPAT])
def test_sizes(name: str) -> None:
    make = {**MODULES, **COMPAT}[name]
    make(2)
    size = "crop_size" if name == "CropAndResize" else "output_size"
    _error(lambda: make(0), f"{size}: expected at least 1, got 0")


@pytest.mark.parametrize(
    "name", [name for name in (*MODULES, *COMPAT) if "MultiScale" not in name and "Crop" not in name]
)
def test_scales(name: str) -> None:
    make = MODULES.get(name)
    wrong = (lambda: make(2, spatial_scale=-1.0)) if make else (lambda: COMPAT[name](2, -1.0))
    _error(wrong, "spatial_scale: expected a positive number, got -1.0")


@pytest.mark.parametrize("name", MODULES)
def test_shared_arguments(name: str) -> None:
    make = MODULES[name]
    for layout in ("NCHW", "NHWC"):
        make(2, layout=layout, invalid="zero", backend="triton")
    _error(lambda: make(2, layout="CHW"), "layout: expected one of 'NCHW', 'NHWC', got 'CHW'")
    _error(lambda: make(2, invalid="skip"), "invalid: expected one of 'raise', 'zero', got 'skip'")
    _error(lambda: make(2, backend="gpu"), "backend: expected one of 'cpu', 'reference', 'triton', got 'gpu'")


@pytest.mark.parametrize(("call", "text"), OTHERS, ids=[row[-1] for row in OTHERS])
def test_other_arguments(call: Callable[[], Any], text: str) -> None:
    _error(call, text)


def test_making_a_module_draws_no_random_numbers_and_warns_of_nothing() -> None:
    generator, of_numpy = torch.Generator(), np.random.default_rng(0)
    states = [torch.get_rng_state(), generator.get_state(), of_numpy.bit_generator.state]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in (None, generator, of_numpy):
            modules.RoIAlign(2, sampling="random", seed=seed)
        modules.RoIAlign(2, sampling_ratio=2, sampling="exact")
    assert torch.equal(states[0], torch.get_rng_state())
    assert torch.equal(states[1], generator.get_state())
    assert states[2] == of_numpy.bit_generator.state


def test_scales_of_given_levels_can_have_any_order() -> None:
    pool = modules.MultiScaleRoIAlign(1, [0.5, 1.0])
    maps = [torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)]
    assert pool(maps, torch.tensor([[0, 1.0, 1.0, 5.0, 5.0]]), levels=torch.tensor([0])).item() == 1


@pytest.mark.parametrize("name", [*MODULES, *COMPAT])
def test_modules_can_be_made_without_memory(name: str) -> None:
    make = {**MODULES, **COMPAT}[name]
    with FakeTensorMode():
        make(2)
    with torch.device("meta"):
        make(2)


def _subclass(module: type, *arguments: Any) -> type:
    """A subclass whose `forward` uses an attribute that is set after the arguments were checked."""

    class Scaled(module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(*arguments)
            self.factor = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, *inputs: Any) -> torch.Tensor:
            scaled: torch.Tensor = self.factor * super().forward(*inputs)
            return scaled

    return Scaled


ROWS = torch.tensor([[0, 1.0, 1.0, 5.0, 5.0]])
TURNED = torch.tensor([[0, 3.0, 3.0, 4.0, 4.0, 0.0]])
SUBCLASSES: list[tuple[type, tuple[Any, ...], tuple[Any, ...]]] = [
    (torchvision.RoIAlign, (1, 1.0, 2), (ROWS,)),
    (torchvision.RoIPool, (1, 1.0), (ROWS,)),
    (detectron2.ROIAlign, (1, 1.0, 0), (ROWS,)),
    (detectron2.ROIAlignRotated, (1, 1.0, 0), (TURNED,)),
    (mmcv.RoIAlign, (1,), (ROWS,)),
    (mmcv.PrRoIPool, (1,), (ROWS,)),
    (mmcv.SimpleRoIAlign, (1, 1.0), (ROWS,)),
    (mmcv.RoIAlignRotated, (1, 1.0), (TURNED,)),
    (mmcv.RiRoIAlignRotated, (1, 1.0), (TURNED,)),
    (mmcv.DeformRoIPool, (1,), (ROWS,)),
]


@pytest.mark.parametrize(
    ("module", "arguments", "rois"), SUBCLASSES, ids=[f"{row[0].__module__}.{row[0].__name__}" for row in SUBCLASSES]
)
def test_subclasses_override_init_and_forward(module: type, arguments: tuple[Any, ...], rois: tuple[Any, ...]) -> None:
    pool = _subclass(module, *arguments)()
    assert round(pool(torch.ones(1, 8, 8, 8), *rois).mean().item(), 4) == 3


def test_subclasses_of_the_modules_of_pyramids() -> None:
    maps = {"0": torch.ones(1, 2, 8, 8)}
    pool = _subclass(torchvision.MultiScaleRoIAlign, ["0"], 1, 2)()
    assert round(pool(maps, [ROWS[:, 1:]], [(8, 8)]).mean().item(), 4) == 3
    pooler = _subclass(detectron2.ROIPooler, 1, [1.0], 2, "ROIAlign")()
    assert round(pooler([maps["0"]], [ROWS[:, 1:]]).mean().item(), 4) == 3


@pytest.mark.parametrize("name", [*MODULES, *COMPAT])
def test_making_a_module_calls_no_hook(name: str) -> None:
    calls: list[Any] = []
    handle = torch.nn.modules.module.register_module_forward_pre_hook(lambda *call: calls.append(call))
    try:
        {**MODULES, **COMPAT}[name](2)
    finally:
        handle.remove()
    assert not calls


def test_making_a_module_leaves_the_filters_of_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`warnings.catch_warnings` would change the filters of all threads, and forget which warnings were shown."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the filters of warnings were changed")

    with monkeypatch.context() as patched:  # pytest uses it too
        patched.setattr(warnings, "catch_warnings", refuse)
        for make in (*MODULES.values(), *COMPAT.values()):
            make(2)


def test_a_call_warns_while_another_thread_makes_a_module() -> None:
    made, warned = threading.Event(), threading.Event()

    def make() -> None:
        with without_warnings():
            made.set()
            assert warned.wait(60)

    thread = threading.Thread(target=make)
    thread.start()
    try:
        assert made.wait(60)
        pool = modules.RoIAlign(2, sampling_ratio=2, sampling="exact")
        with pytest.warns(RoIWarning, match="sampling_ratio: 2 is ignored"):
            pool(torch.ones(1, 1, 8, 8), ROWS)
    finally:
        warned.set()
        thread.join()


class _MadeInForward(torch.nn.Module):
    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.make()(*inputs)
        return pooled


MADE_IN_FORWARD: list[Callable[[], Any]] = [
    lambda: modules.RoIAlign(2, 0.5, 2),
    lambda: modules.RoIPool(2, 0.5),
    lambda: torchvision.RoIAlign(2, 0.5, 2),
]


@pytest.mark.parametrize("make", MADE_IN_FORWARD, ids=lambda make: f"{type(make()).__module__}.{type(make()).__name__}")
def test_modules_can_be_made_in_compiled_and_exported_code(make: Callable[[], Any]) -> None:
    model, inputs = _MadeInForward(make), (torch.rand(1, 4, 8, 8), ROWS)
    expected = model(*inputs)
    torch._dynamo.reset()
    assert torch.equal(torch.compile(model, fullgraph=True, backend="eager")(*inputs), expected)
    assert torch.equal(torch.export.export(model, inputs, strict=True).module()(*inputs), expected)


def test_detectors_poolers_can_be_made_in_compiled_code() -> None:
    features, boxes = torch.rand(1, 4, 8, 8), ROWS[:, 1:]

    def pool(features: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        first = torchvision.MultiScaleRoIAlign(["0"], 2, 2)({"0": features}, [boxes], [(8, 8)])
        second: torch.Tensor = detectron2.ROIPooler(2, [1.0], 2, "ROIAlignV2")([features], [boxes])
        return first + second

    torch._dynamo.reset()
    compiled = torch.compile(pool, fullgraph=True, backend="eager")
    assert torch.equal(compiled(features, boxes), pool(features, boxes))


def test_pyramids_of_the_detectors_have_maps() -> None:
    _error(lambda: torchvision.MultiScaleRoIAlign([], 2, 2), "featmap_names: expected the names of one or more maps")
    assert len(torchvision.MultiScaleRoIAlign([str(level) for level in range(2000)], 2, 2).featmap_names) == 2000


@pytest.mark.parametrize("kind", [int, np.int64, np.array, torch.tensor])
def test_negative_sampling_ratios_of_the_detectors_are_adaptive(kind: Callable[[int], Any]) -> None:
    features, boxes = torch.rand(1, 4, 8, 8), ROWS * torch.tensor([0, 1.0, 1.0, 1.3, 1.4])
    expected = torchvision.roi_align(features, boxes, 2)
    for pool in (torchvision.RoIAlign(2, 1.0, kind(-2)), detectron2.ROIAlign(2, 1.0, kind(-2), aligned=False)):
        assert torch.equal(pool(features, boxes), expected)
    assert torch.equal(
        torchvision.RoIAlign(2, 1.0, kind(3))(features, boxes), torchvision.roi_align(features, boxes, 2, 1.0, 3)
    )
    torchvision.MultiScaleRoIAlign(["0"], 2, kind(-2))
    _error(lambda: torchvision.RoIAlign(2, 1.0, torch.tensor(-2.0)), "sampling_ratio: expected an int")  # type: ignore[arg-type]


OWN_SUBCLASSES: list[tuple[type, tuple[Any, ...], tuple[Any, ...]]] = [
    (modules.RoIAlign, (1, 1.0, 2), (ROWS,)),
    (modules.PrRoIPool, (1,), (ROWS,)),
    (modules.CropAndResize, (1,), (ROWS[:, 1:] / 8, torch.tensor([0]))),
    (modules.RoIPool, (1,), (ROWS,)),
    (modules.RoIAlignRotated, (1,), (TURNED,)),
    (modules.DeformRoIPool, (1,), (ROWS,)),
]


@pytest.mark.parametrize(
    ("module", "arguments", "rois"), OWN_SUBCLASSES, ids=[row[0].__name__ for row in OWN_SUBCLASSES]
)
def test_subclasses_of_roialigns_modules(module: type, arguments: tuple[Any, ...], rois: tuple[Any, ...]) -> None:
    pool = _subclass(module, *arguments)()
    assert round(pool(torch.ones(1, 8, 8, 8), *rois).mean().item(), 4) == 3
    assert str(pool).endswith(str(module(*arguments)).partition("(")[2])


def test_subclasses_can_use_the_names_of_private_methods() -> None:
    class Own(modules.RoIAlign):
        def _check(self) -> None:
            raise NotImplementedError

    class OfTorchvision(torchvision.RoIAlign):
        def check_arguments(self) -> None:
            raise NotImplementedError

    Own(1)
    OfTorchvision(1, 1.0, 2)


@pytest.mark.parametrize("module", [modules.DeformRoIPoolPack, modules.ModulatedDeformRoIPoolPack])
def test_modules_with_weights_take_tensors_only(module: type[modules.DeformRoIPoolPack]) -> None:
    pool: Any = module(2, 3, 8)
    with pytest.raises(TypeError, match=r"features: expected a torch.Tensor, got numpy.ndarray"):
        pool(np.ones((1, 3, 8, 8), np.float32), np.array([[0, 1, 1, 6, 6]], np.float32))
