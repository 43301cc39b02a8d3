"""OpenVINO: ROIAlign on planar maps, one call per level, with the output in the request's memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import openvino
from openvino import opset9, opset15

from .work import Array, Inputs, Part, UnsupportedError, Work, turned_boxes


def versions() -> dict[str, str]:
    return {"openvino": openvino.__version__.partition("-")[0]}


def prepare(inputs: Inputs) -> Work:
    maps = inputs.maps("NCHW", "float32")
    calls = [_request(inputs, maps[part.level], part) for part in inputs.parts()]

    def run() -> None:
        for request, _, _ in calls:
            request.infer()

    def answer() -> list[Array]:
        run()
        return [inputs.in_order([(part, request.get_output_tensor().data.copy()) for request, part, _ in calls])]

    return Work(run, answer)


def _request(inputs: Inputs, features: Array, part: Part) -> tuple[Any, Part, list[Array]]:
    parameters = make_parameters(features.shape, len(part.rows), 5 if inputs.operator == "rotated" else 4)
    pooled = pool(parameters[0], parameters, inputs, part.scale)
    request = compile_model(openvino.Model([pooled], parameters), inputs).create_infer_request()
    rois = part.rois
    if inputs.operator == "rotated":  # the angles are those of all RoIs, in order
        rois = turned_boxes(inputs.rois)[part.rows]
    return request, part, bind(request, features, replace(part, rois=rois))


def make_parameters(shape: tuple[int, ...], rois: int, numbers: int = 4) -> list[Any]:
    return [
        opset9.parameter(list(shape), np.float32),
        opset9.parameter([rois, numbers], np.float32),
        opset9.parameter([rois], np.int32),
    ]


def pool(features: Any, parameters: list[Any], inputs: Inputs, scale: float) -> Any:
    """Create the node in the convention that roialign calls aligned."""
    height, width = inputs.output_size
    if inputs.operator == "rotated":
        return opset15.roi_align_rotated(
            features, parameters[1], parameters[2], height, width, inputs.sampling_ratio, scale, False
        )
    return opset9.roi_align(
        features,
        parameters[1],
        parameters[2],
        height,
        width,
        inputs.sampling_ratio,
        scale,
        "avg",
        "half_pixel_for_nn",
    )


def compile_model(model: Any, inputs: Inputs, **properties: Any) -> Any:
    core = openvino.Core()
    precision = {"float32": "f32", "bfloat16": "bf16"}[inputs.dtype]
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnsupportedError("openvino has no bfloat16 on this CPU")
    return core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": inputs.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
            **properties,
        },
    )


def bind(request: Any, features: Array, part: Part) -> list[Array]:
    """Pass inputs to a request without a copy. The caller keeps the returned objects alive."""
    arrays = [features, np.ascontiguousarray(part.rois[:, 1:]), part.rois[:, 0].astype(np.int32)]
    for index, array in enumerate(arrays):
        request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
    return arrays
