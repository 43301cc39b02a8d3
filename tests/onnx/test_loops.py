"""`scans_to_loops`: the same answers, in a form that OpenVINO reads too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import parser
from torch import Tensor

from roialign.torch.export import scans_to_loops
from tests.onnx import test_export, test_export_points
from tests.onnx.test_export import maps_of, rows_of

# torch's exporter sets off a few warnings of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxscript"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:copyreg"),
]

#: Running sums of rows that are picked from the map around the Scan: something carried, two tables, two answers.
SUMS = """
<ir_version: 8, opset_import: ["" : 18]>
sums (float[H, W] features, int64[K, 1] rows, float[K] factors) => (float[W] last, float[K, W] sums, float[K] doubled) {
  raised = Add(features, features)
  zero = Constant<value_floats = [0.0]>()
  width = Shape<start = 1, end = 2>(features)
  start = Expand(zero, width)
  last, sums, doubled = Scan<num_scan_inputs = 2, ATTRIBUTES body = one (
      float[W] carried, int64[1] row, float factor) => (float[W] next, float[W] sum, float twice) {
    one_row = Gather<axis = 0>(raised, row)
    axis = Constant<value_ints = [0]>()
    flat = Squeeze(one_row, axis)
    weighted = Mul(flat, factor)
    next = Add(carried, weighted)
    sum = Identity(next)
    twice = Add(factor, factor)
  }>(start, rows, factors)
}
"""


def sums_of(attributes: str = "") -> onnx.ModelProto:
    model = parser.parse_model(SUMS.replace("ATTRIBUTES", attributes))
    onnx.checker.check_model(model, full_check=True)
    return model


def kinds(graph: Any) -> list[str]:
    """The names of all operators, those of inner graphs too."""
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [node.op_type for node in graph.node] + [name for one in inner for name in kinds(one)]


def in_openvino(model: onnx.ModelProto, feeds: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    core = openvino.Core()
    program = core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = zip(model.graph.input, feeds, strict=True)
    known = {name for one in program.inputs for name in one.names}  # without those that nothing reads
    answers = program({one.name: values for one, values in given if one.name in known})
    return [answers[index] for index in range(len(program.outputs))]


def in_onnxruntime(model: onnx.ModelProto, feeds: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {one.name: value for one, value in zip(session.get_inputs(), feeds, strict=True)})  # type: ignore[no-any-return]


def test_a_loop_computes_what_the_scan_did() -> None:
    """By hand: carried values, several tables and answers, values of the graph around it."""
    features = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    rows, factors = np.array([[3], [0], [3]]), np.array([1, -2, 0.5], np.float32)
    sums = np.cumsum(2 * features[rows[:, 0]] * factors[:, None], 0)
    model = sums_of()
    scans_to_loops(model)
    onnx.checker.check_model(model, full_check=True)
    assert "Loop" in kinds(model.graph)
    assert "Scan" not in kinds(model.graph)
    for run in (in_onnxruntime, in_openvino):
        for got, wanted in zip(run(model, [features, rows, factors]), [sums[-1], sums, 2 * factors], strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def test_a_scan_within_another_graph_is_rewritten_too() -> None:
    inner = sums_of().graph
    then = onnx.helper.make_node("If", ["yes"], ["answer"], then_branch=inner, else_branch=inner)
    yes = onnx.helper.make_tensor_value_info("yes", onnx.TensorProto.BOOL, [])
    model = onnx.helper.make_model(onnx.helper.make_graph([then], "outer", [yes], []))
    scans_to_loops(model)
    assert (kinds(model.graph).count("Loop"), kinds(model.graph).count("Scan")) == (2, 0)


@pytest.mark.parametrize(
    "attributes",
    ["scan_input_directions = [0, 1],", "scan_output_directions = [1, 0],", "scan_output_axes = [1, 0],"],
)
def test_a_scan_that_runs_otherwise_is_left_as_it_is(attributes: str) -> None:
    model = sums_of(attributes)
    before = model.SerializeToString(deterministic=True)
    scans_to_loops(model)
    assert model.SerializeToString(deterministic=True) == before


def separable_arguments(count: int) -> list[Tensor]:
    return [*maps_of(2, 3, (13, 9)), rows_of(count, 2, 182, 126)]


def pointwise_arguments(count: int) -> list[Tensor]:
    return list(test_export_points.arguments_of(2, 13, 9, count))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("export", "part", "arguments_of"),
    [
        *((test_export.one_level, part, separable_arguments) for part in test_export.PARTS),
        *((test_export_points.exported, part, pointwise_arguments) for part in test_export_points.PARTS),
    ],
)
def test_operators_as_in_torch(
    export: Callable[[str], test_export.Exported], part: str, arguments_of: Callable[[int], list[Tensor]]
) -> None:
    exported, model = export(part), onnx.ModelProto()
    model.CopyFrom(exported.proto)
    scans_to_loops(model)
    assert "Scan" not in kinds(model.graph)
    onnx.checker.check_model(model, full_check=True)
    for count in (6, 0, 25):
        arguments = arguments_of(count)
        feeds = [tensor.numpy() for tensor in arguments]
        expected = exported.model(*arguments)
        for run in (in_onnxruntime, in_openvino):
            for index, (got, wanted) in enumerate(zip(run(model, feeds), expected, strict=True)):
                np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=1e-5, err_msg=f"{run.__name__} {index}")
