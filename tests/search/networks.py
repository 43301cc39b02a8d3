"""A small network in an ONNX file, made without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper


def save_network(path: Path, seed: int) -> Path:
    """Maps of stride 8 and 16, of 4 and 6 channels, of random weights."""
    random = np.random.default_rng(seed)
    weights = {"fine": random.normal(0, 0.1, (4, 3, 8, 8)), "coarse": random.normal(0, 0.3, (6, 4, 2, 2))}
    constants = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    nodes = [
        helper.make_node("Conv", ["images", "fine"], ["stride8"], strides=[8, 8]),
        helper.make_node("Conv", ["stride8", "coarse"], ["stride16"], strides=[2, 2]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("images", onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [value(name, onnx.TensorProto.FLOAT, None) for name in ("stride8", "stride16")],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
