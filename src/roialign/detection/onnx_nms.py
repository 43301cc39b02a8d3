"""Non-maximum suppression as ONNX operators, for torch's ONNX exporter."""

from __future__ import annotations

from typing import Any

import torch
from onnxscript import opset18

from .boxes import padded_nms  # noqa: F401 - registers the operator

op: Any = opset18
#: Lower than every score, but above minus infinity.
LOWEST = -1e30


def _padded_nms(boxes: Any, scores: Any, groups: Any, threshold: float, most: int) -> Any:
    """ONNX's NonMaxSuppression, after shifting the boxes of each group so that no two groups overlap."""
    step = op.Add(op.ReduceMax(boxes, keepdims=0), 1.0)
    apart = op.Add(boxes, op.Unsqueeze(op.Mul(op.Cast(groups, to=1), step), [1]))
    kept = op.NonMaxSuppression(
        op.Unsqueeze(apart, [0]),
        op.Unsqueeze(scores, [0, 1]),
        op.Constant(value_ints=[most]),
        op.Constant(value_floats=[threshold]),
        op.Constant(value_floats=[LOWEST]),
    )
    indices = op.Gather(kept, 2, axis=1)
    padded = op.Concat(indices, op.Expand(op.Constant(value_ints=[-1]), op.Constant(value_ints=[most])), axis=0)
    return op.Slice(padded, [0], [most], [0])


TRANSLATION: dict[Any, Any] = {torch.ops.roialign.padded_nms.default: _padded_nms}
