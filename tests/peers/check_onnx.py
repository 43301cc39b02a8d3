"""ONNX's own node tests of region operators, which its package brings, on our functions. Run by `make test-peers`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.backend.test.case.node import collect_testcases

from roialign import crop_and_resize
from roialign.compat.onnx import roi_align
from roialign.detection.boxes import batched_nms

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of casts that overflow on purpose, in the tests of other operators
    CASES = [
        case
        for case in collect_testcases()
        for node in [case.model.graph.node[0]]
        if node.op_type in ("RoiAlign", "NonMaxSuppression") or "tf_crop_and_resize" in case.name
        if not case.name.endswith("_expanded")
    ]


def attributes_of(case: Any) -> dict[str, Any]:
    node = case.model.graph.node[0]
    values = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def of_named_inputs(case: Any, arrays: Any) -> dict[str, Any]:
    """The inputs by their place; those that are left out are not there."""
    places = [index for index, name in enumerate(case.model.graph.node[0].input) if name]
    return dict(zip(places, arrays, strict=True))


def test_every_operator_has_its_cases() -> None:
    kinds = [case.model.graph.node[0].op_type for case in CASES]
    assert kinds.count("RoiAlign") >= 3
    assert kinds.count("NonMaxSuppression") >= 9
    assert kinds.count("Resize") >= 3


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_node(case: Any) -> None:
    run = {"RoiAlign": run_roi_align, "NonMaxSuppression": run_suppression, "Resize": run_crop}
    for arrays, (expected,) in case.data_sets:
        answer = run[case.model.graph.node[0].op_type](case, of_named_inputs(case, arrays))
        np.testing.assert_allclose(answer, expected, rtol=case.rtol, atol=case.atol)


def run_roi_align(case: Any, given: dict[int, Any]) -> Any:
    return roi_align(given[0], given[1], given[2], **attributes_of(case), opset=case.model.opset_import[0].version)


def run_suppression(case: Any, given: dict[int, Any]) -> Any:
    """By `batched_nms` of each class of each image; here are only the other forms of a box, and the two limits."""
    boxes, scores = (torch.from_numpy(given[index]) for index in (0, 1))
    most, overlap, score = (
        np.asarray(given.get(index, default)).item() for index, default in ((2, 0), (3, 0.0), (4, -np.inf))
    )
    if attributes_of(case).get("center_point_box"):
        corners = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
    else:
        corners = torch.cat([boxes[..., :2].minimum(boxes[..., 2:]), boxes[..., :2].maximum(boxes[..., 2:])], -1)
    rows = []
    for image, label in np.ndindex(*scores.shape[:2]):
        members = torch.where(scores[image, label] > score)[0]
        kept = batched_nms(corners[image][members], scores[image, label][members], members * 0, overlap)
        rows += [[image, label, int(index)] for index in members[kept][: int(most)]]
    return np.array(rows, np.int64).reshape(-1, 3)


def run_crop(case: Any, given: dict[int, Any]) -> Any:
    """Each image is cropped by the same box; what an axis that is not named does is to stay."""
    attributes, features = attributes_of(case), given[0]
    axes = [axis % 4 for axis in attributes.get("axes", range(4))]
    starts, ends, sizes = [0.0] * 4, [1.0] * 4, list(features.shape)
    for place, axis in enumerate(axes):
        starts[axis], ends[axis] = given[1][place], given[1][place + len(axes)]
        sizes[axis] = int(given[3][place])
    assert (starts[:2], ends[:2], sizes[:2]) == ([0, 0], [1, 1], list(features.shape[:2]))
    count = len(features)
    boxes = np.array([[starts[2], starts[3], ends[2], ends[3]]] * count, np.float32)
    value = attributes.get("extrapolation_value", 0.0)
    return crop_and_resize(
        features, boxes, np.arange(count), tuple(sizes[2:]), extrapolation_value=value, layout="NCHW"
    )
