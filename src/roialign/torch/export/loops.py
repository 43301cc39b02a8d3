"""Conversion of `Scan` to `Loop` in an ONNX model, for runtimes that support only `Loop`."""

from __future__ import annotations

from typing import Any


def scans_to_loops(model: Any) -> None:
    """Replace every `Scan` of an ONNX model by a `Loop` that computes the same, in place.

    Operators without an ONNX equivalent are exported as a `Scan` over the RoIs, which reads the map from the outer
    graph. onnxruntime supports both. OpenVINO supports such a `Loop` but rejects such a `Scan`.

    Concretely, iteration i of the loop takes row i of each table that was scanned. A `Scan` that runs backwards or
    along another axis is left unchanged. The exported operators contain no such `Scan`.

    Parameters
    ----------
    model : onnx.ModelProto
        A model of operator set 15 or later, such as ``torch.onnx.export(..., dynamo=True).model_proto``.

    Raises
    ------
    ModuleNotFoundError
        If onnx is not installed.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import PrRoIPool
    >>> from roialign.torch.export import scans_to_loops
    >>> inputs = torch.rand(1, 3, 20, 30), torch.tensor([[0, 2.0, 3.0, 9.0, 12.0]])
    >>> model = torch.onnx.export(PrRoIPool(7), inputs, dynamo=True).model_proto  # doctest: +SKIP
    >>> scans_to_loops(model)  # doctest: +SKIP
    """
    _rewrite(model.graph)


def _rewrite(graph: Any) -> None:
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] * attribute.HasField("g") + [*attribute.graphs]:
                _rewrite(inner)
        nodes += _loop_of(node) if node.op_type == "Scan" and _runs_forwards(node) else [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _runs_forwards(node: Any) -> bool:
    """Whether a Scan runs along the first axis of all tables from the start: all its axes and directions are 0."""
    return not any(number for attribute in node.attribute for number in attribute.ints)


def _loop_of(node: Any) -> list[Any]:
    """The nodes that replace the Scan: the number of iterations, and the loop."""
    from onnx import TensorProto, helper

    given = {attribute.name: attribute for attribute in node.attribute}
    body, carried = given["body"].g, len(node.input) - given["num_scan_inputs"].i
    tables, name = node.input[carried:], node.name or node.output[-1]
    number, going, goes_on = (f"{name}_{what}" for what in ("round", "going", "goes_on"))
    rows = [
        helper.make_node("Gather", [table, number], [row.name], axis=0)
        for table, row in zip(tables, body.input[carried:], strict=True)
    ]
    graph = helper.make_graph(
        [*rows, *body.node, helper.make_node("Identity", [going], [goes_on])],
        body.name,
        [
            helper.make_tensor_value_info(number, TensorProto.INT64, []),
            helper.make_tensor_value_info(going, TensorProto.BOOL, []),
            *body.input[:carried],
        ],
        [helper.make_tensor_value_info(goes_on, TensorProto.BOOL, []), *body.output],
        body.initializer,
        value_info=body.value_info,
    )
    length, rounds = f"{name}_length", f"{name}_rounds"
    return [
        helper.make_node("Shape", [tables[0]], [length], start=0, end=1),
        helper.make_node("Squeeze", [length], [rounds]),
        helper.make_node("Loop", [rounds, "", *node.input[:carried]], node.output, name=node.name, body=graph),
    ]
