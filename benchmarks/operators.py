"""How to call the operators other than RoIAlign's mean, on one level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import roialign
from roialign._frameworks import operator_call
from roialign.ops.roi_align import roi_align_spec

from .workers.work import Array, bin_offsets, turned_boxes


class Operator:
    """One of our functions on a map, for upright RoIs ``[K, 5]``."""

    def __init__(self, name: str, adaptive: bool = True, **options: Any) -> None:
        self.name, self.adaptive, self.options = name, adaptive, options

    def geometry(self, rois: Array, output_size: tuple[int, int]) -> dict[str, Any]:
        del output_size
        return {"rois": rois}

    def forward(
        self,
        features: Array,
        rois: Array,
        output_size: tuple[int, int],
        scale: float,
        sampling_ratio: int,
        layout: str,
        out: Array | None = None,
    ) -> Array:
        arguments = self._arguments(rois, output_size, scale, sampling_ratio, layout)
        function: Callable[..., Array] = getattr(roialign, self.name)
        return function(features, output_size=output_size, out=out, **arguments)

    def backward(
        self,
        gradient: Array,
        features: Array,
        rois: Array,
        output_size: tuple[int, int],
        scale: float,
        sampling_ratio: int,
        layout: str,
        need: str,
    ) -> Array:
        """Return the gradient to the features or to the RoIs, keeping only the part of the boxes."""
        arguments = self._arguments(rois, output_size, scale, sampling_ratio, layout)
        found = getattr(roialign, f"{self.name}_backward")(gradient, features, need=need, **arguments)
        return np.asarray(found[0] if need == "features" else found[1][:, 1:])

    def _arguments(
        self, rois: Array, output_size: tuple[int, int], scale: float, sampling_ratio: int, layout: str
    ) -> dict[str, Any]:
        adaptive = {"sampling_ratio": sampling_ratio} if self.adaptive else {}
        return {
            **self.geometry(rois, output_size),
            "spatial_scale": scale,
            "layout": layout,
            **adaptive,
            **self.options,
        }


class Rotated(Operator):
    def geometry(self, rois: Array, output_size: tuple[int, int]) -> dict[str, Any]:
        del output_size
        return {"rois": turned_boxes(rois)}


class Deformable(Operator):
    def geometry(self, rois: Array, output_size: tuple[int, int]) -> dict[str, Any]:
        return {"rois": rois, "offset": bin_offsets(len(rois), output_size)}


class CornerMax(Operator):
    """Compute ONNX's maximum in any layout."""

    def forward(self, features: Array, rois: Array, output_size: tuple[int, int], *arguments: Any) -> Array:
        scale, sampling_ratio, layout, out = arguments
        samples: Any = roi_align_spec(sampling_ratio, True, "max", "grid")
        call = operator_call(samples._replace(reduction="corner_max"), [features], [scale], rois, layout=layout)
        pooled: Array = call.forward(output_size, out)
        return pooled


OPERATORS: dict[str, Operator] = {
    "max": Operator("roi_align", mode="max"),
    "onnx-max": CornerMax("roi_align"),
    "rotated": Rotated("roi_align_rotated"),
    "deformable": Deformable("deform_roi_pool"),
    "position-sensitive": Operator("ps_roi_align"),
    "position-sensitive-pool": Operator("ps_roi_pool", adaptive=False),
    "roi-pool": Operator("roi_pool", adaptive=False),
}
