"""Every public function of tensors: torch.fx takes it as one node; and what cannot be recorded says what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import roialign
from roialign.compat import detectron2, mmcv, onnx, torchvision
from roialign.detection import pyramid_pooling
from tests.torch.recording.models import GROUPS, inputs, model_of

#: Functions that take no tensor.
WITHOUT_TENSORS = {
    "roialign": {"build_info", "get_num_threads", "set_num_threads", "taps"},
    "roialign.compat.torchvision": {"install", "installed", "uninstall"},
    "roialign.compat.mmcv": {"build_roi_layers"},
}


def public_functions() -> Iterator[Any]:
    modules: list[ModuleType] = [roialign, detectron2, mmcv, onnx, torchvision, pyramid_pooling]
    for module in modules:
        own = [name for name, one in vars(module).items() if getattr(one, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", [name for name in own if not name.startswith("_")]):
            one = getattr(module, name)
            if inspect.isfunction(one) and name not in WITHOUT_TENSORS.get(module.__name__, ()):
                yield pytest.param(one, id=f"{module.__name__}.{name}")


FUNCTIONS = list(public_functions())


def test_they_are_found() -> None:
    names = {str(one.id) for one in FUNCTIONS}
    assert len(names) > 35
    assert {
        "roialign.roi_align_backward",
        "roialign.fpn_levels",
        "roialign.compat.mmcv.roi_align_rotated",
        "roialign.detection.pyramid_pooling.multiscale_deform_roi_pool",
    } <= names


@pytest.mark.parametrize("function", FUNCTIONS)
def test_torch_fx_takes_it_as_one_node(function: Callable[..., Any]) -> None:
    required = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
    keyword = {one.name: 1 for one in required if one.kind is one.KEYWORD_ONLY}
    positional = len(required) - len(keyword)

    class Calling(nn.Module):
        def forward(self, x: Any) -> Any:
            return function(*[x] * positional, **keyword)

    nodes = list(torch.fx.symbolic_trace(Calling()).graph.nodes)
    assert [node.op for node in nodes] == ["placeholder", "call_function", "output"]
    assert nodes[1].target is function


CLASSES = [(group, name) for group in GROUPS for name, make in GROUPS[group].items() if isinstance(make(), nn.Module)]


@pytest.mark.parametrize(("group", "name"), CLASSES, ids=lambda one: str(one))
@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
def test_torchscript_says_what_to_do(group: str, name: str) -> None:
    """A model that holds a module of ours, or a whole pooler of ours."""
    with pytest.raises(NotImplementedError, match=r"is not supported; use torch.jit.trace, torch.export or "):
        torch.jit.script(model_of(group, name))


@pytest.mark.parametrize("name", GROUPS["roialign"])
@pytest.mark.filterwarnings("ignore:.*quantize:DeprecationWarning", "ignore:.*quantiz:UserWarning")
def test_quantised_tensors_say_what_to_do(name: str) -> None:
    features, rows = inputs(9, 11, 5)
    call = GROUPS["roialign"][name]()
    quantised = torch.quantize_per_tensor(features, 0.1, 0, torch.qint8)
    with pytest.raises(TypeError, match=r"features.*: expected dtype .*torch.qint8; use features.*\.dequantize\(\)"):
        call(quantised, rows)
    rois = torch.quantize_per_tensor(rows, 0.1, 0, torch.qint8)
    with pytest.raises(TypeError, match=r"rois: expected .*, got torch.qint8; use rois.dequantize\(\)"):
        roialign.roi_align(features, rois, 2)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace. is deprecated")
def test_a_gradient_function_in_a_trace_says_what_to_do() -> None:
    features, rows = inputs(9, 11, 5)
    pooled = roialign.roi_align(features, rows, 2)

    def gradient(grad: torch.Tensor, rois: torch.Tensor) -> Any:
        return roialign.roi_align_backward(grad, features, rois, need=("features",))[0]

    with pytest.raises(NotImplementedError, match="cannot record the gradient of features, because"):
        torch.jit.trace(gradient, (torch.ones_like(pooled), rows))
