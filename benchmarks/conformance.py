"""The check before timing: an implementation is only timed if it gives our float64 result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import roialign

from .cases import Case
from .operators import OPERATORS
from .peers import PEERS
from .workers.work import dtype_of
from .workloads import Array, Data, Workload

#: Largest accepted difference, relative to the largest value of the output. float32 peers round coordinates.
PEER_TOLERANCE = {"float32": 2e-4, "float16": 1e-3, "bfloat16": 1e-2}
#: Limits for roialign. Half types round once. In the gradient to the boxes, large terms cancel.
OUR_TOLERANCE = {"float32": 2e-6, "float16": 5e-4, "bfloat16": 4e-3}
BOXES_TOLERANCE = {"float32": 2e-4, "float16": 2e-3, "bfloat16": 2e-2}


def tolerance_of(peer: str, case: Case) -> float:
    """Return the largest accepted error of an implementation, relative to the largest value of the output."""
    if case.direction == "backward-boxes":
        return BOXES_TOLERANCE[case.dtype]
    return (OUR_TOLERANCE if PEERS[peer].is_ours else PEER_TOLERANCE)[case.dtype]


#: Share of the elements of a maximum's gradient that is not compared. float32 cannot always tell which of two points is
#: the maximum, so the gradient may go to the other one.
NEAR_TIES = 1e-5


def spared_share(case: Case) -> float:
    """Return the share of the elements of an output that may differ by any amount."""
    return NEAR_TIES if case.operator == "max" and case.direction == "backward-features" else 0.0


def largest_error(answer: Sequence[Array], expected: Sequence[Array], spared: float = 0.0) -> float:
    """Return the largest difference, relative to the largest expected value; infinite for wrong shapes, NaN or
    infinity.

    The share `spared` of the elements with the largest differences is ignored.
    """
    if len(answer) != len(expected):
        return float("inf")
    worst, scale = 0.0, 0.0
    for given, right in zip(answer, expected, strict=True):
        if given.shape != right.shape:
            return float("inf")
        if right.size == 0:
            continue
        differences = np.abs(given - right)
        left_out = int(spared * right.size)
        difference = float(np.partition(differences, -1 - left_out, axis=None)[-1 - left_out])
        if not np.isfinite(differences).all():
            return float("inf")
        if not np.isfinite(difference):
            return float("inf")
        worst, scale = max(worst, difference), max(scale, float(np.abs(right).max()))
    return worst / scale if scale else (0.0 if worst == 0.0 else float("inf"))


def conforms(error: float, tolerance: float) -> bool:
    """Whether the error is accepted. NaN is not."""
    return bool(error <= tolerance)


class Oracle:
    """The float64 results of one workload. For very large outputs, only some RoIs are compared."""

    def __init__(self, workload: Workload, data: Data, most_elements: int) -> None:
        self.workload, self.data, self.most_elements = workload, data, most_elements
        self.answers: dict[tuple[str, ...], list[Array]] = {}

    def rows(self, case: Case) -> Array | None:
        """Return the RoIs to compare: None for all, or a random selection for a very large output."""
        if case.direction != "forward" or self.workload.output_elements <= self.most_elements:
            return None
        count = max(1, self.workload.rois * self.most_elements // self.workload.output_elements)
        inner = np.random.default_rng(0).choice(self.workload.rois, count, replace=False)
        return np.unique(np.concatenate([[0, self.workload.rois - 1], inner]))

    def expected(self, case: Case, channels: int | None = None) -> list[Array]:
        """Compute the result on maps rounded to the type of the case, on the first `channels` channels if not None."""
        key = (case.dtype, case.sampling, case.direction, case.operator)
        if key not in self.answers:
            self.answers = {key: self._compute(case)}  # only for one case at a time, because they are large
        return [array[:, :channels] for array in self.answers[key]]

    def _compute(self, case: Case) -> list[Array]:
        data, workload = self.data, self.workload
        rows = self.rows(case)
        chosen = slice(None) if rows is None else rows
        maps = [_rounded(array, case.dtype) for array in data.maps]
        scales = [level.scale for level in workload.levels]
        arguments: dict[str, Any] = {
            "sampling_ratio": 2 if case.sampling == "S2" else 0,
            "sampling": "exact" if case.sampling == "exact" else "grid",
            "levels": data.level_of_roi[chosen],
        }
        rois = data.rois[chosen]
        if case.operator != "mean":
            return self._operator(case, maps[0], rows)
        if case.direction == "forward":
            return [roialign.multiscale_roi_align(maps, rois, workload.output_size, scales, **arguments)]
        if data.grad_output is None:
            raise ValueError("data: expected an output gradient for a backward case")
        gradient = _rounded(data.grad_output, case.dtype)
        need = ("features",) if case.direction == "backward-features" else ("rois",)
        grad_maps, grad_rois = roialign.multiscale_roi_align_backward(
            gradient, maps, rois, scales, need=need, **arguments
        )
        return [grad_rois[:, 1:]] if grad_maps is None else grad_maps

    def _operator(self, case: Case, features: Array, rows: Array | None) -> list[Array]:
        """Compute another operator on one level for all RoIs, then select the requested ones."""
        data, workload = self.data, self.workload
        operator = OPERATORS[case.operator]
        ratio = 2 if case.sampling == "S2" else 0
        where: Any = (features, data.rois, workload.output_size, workload.levels[0].scale, ratio, "NCHW")
        if case.direction == "forward":
            pooled = operator.forward(*where, None)
            return [pooled if rows is None else pooled[rows]]
        if data.grad_output is None:
            raise ValueError("data: expected an output gradient for a backward case")
        need = "features" if case.direction == "backward-features" else "rois"
        return [operator.backward(_rounded(data.grad_output, case.dtype), *where, need)]


def _rounded(array: Array, dtype: str) -> Array:
    return array.astype(dtype_of(dtype)).astype(np.float64)
