"""A validated call of the pointwise family with arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _validate
from .._dispatch import ArrayCall, check_need
from .._geometry import Geometry
from .._typing import Array


def check_channels(spec: Any, channels: int, output_size: tuple[int, int]) -> int:
    """How many channels the answer has."""
    if spec.channels == "orientation" and channels % spec.orientations != 0:
        raise ValueError(
            f"features: expected a multiple of num_orientations ({spec.orientations}) channels, got {channels}"
        )
    bins = math.prod(output_size)
    if spec.channels != "position" or bins == 0:
        return channels
    if channels % bins != 0:
        raise ValueError(f"features: expected a multiple of PH * PW = {bins} channels, got {channels}")
    return channels // bins


class PointwiseArrayCall(ArrayCall):
    """Beside a separable call's: bin offsets and masks, and channels that are not those of the features."""

    family = "pointwise"

    def __init__(
        self,
        spec: Any,
        features: Sequence[object],
        scales: Sequence[float],
        rois: object,
        *,
        offset: object = None,
        mask: object = None,
        **more: Any,
    ) -> None:
        super().__init__(spec, features, scales, rois, **more)
        self.images = self.rois.rows[:, 0].astype(np.int64)
        self.offset, self.mask = offset, mask
        self.geometry = Geometry(np.ascontiguousarray(self.rois.rows[:, 1:]))

    def forward(self, output_size: tuple[int, int], out: object = None) -> Array:
        self._take_bins(output_size)
        return super().forward(output_size, out)

    def backward_all(self, grad_output: object, need: Sequence[str], names: Sequence[str]) -> tuple[Any, ...]:
        """The gradients by name: of the features, the RoIs, the offset and the mask, where the operator has them."""
        wanted = check_need(need, names)
        gradient = self._check_grad_output(grad_output)
        self._take_bins((gradient.shape[2], gradient.shape[3]))
        answers: dict[str, Any] = dict.fromkeys(names)
        if "features" in wanted:
            answers["features"] = self.backward_features(gradient)
        if set(wanted) - {"features"}:
            found = self._adjoint_geometry(gradient)
            answers["rois"] = self.rois.restore(found.boxes)
            for name, part, given in (("offset", found.offset, self.offset), ("mask", found.mask, self.mask)):
                if part is not None and given is not None:
                    kept = given.dtype.kind in "iu"  # type: ignore[attr-defined]
                    answers[name] = part if kept else part.astype(given.dtype)  # type: ignore[attr-defined]
        return tuple(answers[name] if name in wanted else None for name in names)

    def _take_bins(self, bins: tuple[int, int]) -> None:
        """Offsets and masks belong to bins, so they can be checked once those are known."""
        count = len(self.rois.rows)
        offset = mask = None
        if self.offset is not None:
            given = _validate.check_per_bin(self.offset, "offset", (count, 2, *bins))
            finite = _validate.check_offset(given, self.invalid)
            self.images = np.where(finite, self.images, -1)
            offset = np.where(finite[:, None, None, None], given, 0.0).astype(np.float64)
        if self.mask is not None:
            mask = _validate.check_per_bin(self.mask, "mask", (count, *bins)).astype(np.float64)
        self.geometry = self.geometry._replace(offset=offset, mask=mask)

    def _out_channels(self, output_size: tuple[int, int]) -> int:
        return check_channels(self.spec, int(self.features[0].shape[1]), output_size)

    def _forward(self, target: Array) -> None:
        self.backend.forward(self.spec, self.features, self.scales, self.images, self.geometry, self.levels, target)

    def _adjoint_features(self, gradient: Array, maps: Sequence[Array]) -> None:
        where = (self.scales, self.images, self.geometry, self.levels)
        self.backend.adjoint_features(self.spec, gradient, self.features, *where, maps)

    def _adjoint_geometry(self, gradient: Array) -> Geometry:
        where = (self.scales, self.images, self.geometry, self.levels)
        answer: Geometry = self.backend.adjoint_geometry(self.spec, gradient, self.features, *where)
        return answer

    def _adjoint_boxes(self, gradient: Array) -> Array:
        return self._adjoint_geometry(gradient).boxes
