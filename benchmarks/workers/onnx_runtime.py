"""ONNX Runtime: RoiAlign of opset 16, one call per level, with the output bound once to the same memory."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from .work import Array, Inputs, Part, Work, aligned_empty


def versions() -> dict[str, str]:
    return {"onnxruntime": onnxruntime.__version__}


def prepare(inputs: Inputs) -> Work:
    maps = inputs.maps("NCHW", "float32")
    calls = [_bind(inputs, maps[part.level], part) for part in inputs.parts()]

    def run() -> None:
        for session, binding, _, _ in calls:
            session.run_with_iobinding(binding)

    def answer() -> list[Array]:
        for *_, out in calls:
            out.fill(np.nan)
        run()
        return [inputs.in_order([(part, out) for _, _, part, out in calls])]

    return Work(run, answer)


def _bind(
    inputs: Inputs, features: Array, part: Part
) -> tuple[onnxruntime.InferenceSession, onnxruntime.IOBinding, Part, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = inputs.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        _model(inputs, part.scale).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    out = aligned_empty((len(part.rows), features.shape[1], *inputs.output_size), "float32")
    binding = session.io_binding()
    binding.bind_cpu_input("features", features)
    if inputs.operator == "roi-pool":
        binding.bind_cpu_input("boxes", part.rois)
    else:
        binding.bind_cpu_input("boxes", np.ascontiguousarray(part.rois[:, 1:]))
        binding.bind_cpu_input("images", part.rois[:, 0].astype(np.int64))
    binding.bind_output("out", "cpu", 0, np.float32, out.shape, out.ctypes.data)
    return session, binding, part, out


def _model(inputs: Inputs, scale: float) -> onnx.ModelProto:
    if inputs.operator == "roi-pool":
        return _roi_pool_model(inputs, scale)
    node = helper.make_node(
        "RoiAlign",
        ["features", "boxes", "images"],
        ["out"],
        output_height=inputs.output_size[0],
        output_width=inputs.output_size[1],
        sampling_ratio=inputs.sampling_ratio,
        spatial_scale=scale,
        mode="max" if inputs.operator == "onnx-max" else "avg",
        coordinate_transformation_mode="half_pixel",
    )
    graph = helper.make_graph(
        [node],
        "roi_align",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", "c", "h", "w"]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["k", 4]),
            helper.make_tensor_value_info("images", TensorProto.INT64, ["k"]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["k", "c", *inputs.output_size])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def _roi_pool_model(inputs: Inputs, scale: float) -> onnx.ModelProto:
    node = helper.make_node(
        "MaxRoiPool", ["features", "boxes"], ["out"], pooled_shape=list(inputs.output_size), spatial_scale=scale
    )
    graph = helper.make_graph(
        [node],
        "roi_pool",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", "c", "h", "w"]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["k", 5]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["k", "c", *inputs.output_size])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
