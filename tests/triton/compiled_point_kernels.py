"""The same as compiled_kernels.py, which is run as a process of its own, for the kernels of the pointwise family."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from roialign.triton import (
    frames,
    launch,
    pointwise_features,
    pointwise_geometry,
    pointwise_maxima,
    pointwise_means,
)
from roialign.triton.point_rows import PointsSpec, Sampling
from tests.triton.compiled_kernels import FLOATS, compiled

LEVELS = 4
MAPS = ("i32",) * LEVELS
SAMPLING = {**dict.fromkeys(Sampling._fields, "i32"), "gamma_bits": "i64"}
OPTIONS = {"enable_fp_fusion": False}
#: Operators.
BOX = PointsSpec(7, 7, "grid", False, "same", GEOMETRY=4, HAS_OFFSET=False, HAS_MASK=False, COLUMNS=5)
ROTATED = replace(BOX, JOINT=True, GEOMETRY=5, COLUMNS=6)
RIROI = replace(ROTATED, CHANNELS_OF="orientation")
DEFORM = replace(BOX, HAS_OFFSET=True, HAS_MASK=True, COLUMNS=5 + 3 * 49)
PS_POOL = replace(BOX, RULE="pixels", CHANNELS_OF="position")
ROI_POOL = replace(BOX, RULE="pixels")
EXACT = replace(BOX, RULE="lattice")


def of_frames(mapping: str, **more: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(("images", "extra_pixels", "unused_border", "orientations"), "i32")
    arguments = {"rois": "*fp32", "levels": "*i64", "tangent": "*fp64", "frames": "*fp64", "places": "*i32"}
    arguments |= {"spans": "*i32", "heights": MAPS, "widths": MAPS, "scales": ("i64",) * LEVELS}
    arguments |= {"canonical": ("i64", "i64"), "strides_log2": MAPS}
    arguments |= dict.fromkeys(("offset_bits", "minimum_bits", "gamma_bits"), "i64")
    constants = {"PH": 7, "PW": 7, "MAPPING": mapping, "RULE": "grid", "CLOCKWISE": False, "HAS_OFFSET": False}
    constants |= {"TANGENT": False, "KEEPS": False, "COLUMNS": 6, "HAS_LEVELS": True, "LEVELS": LEVELS, "BINS": 64}
    options = {**OPTIONS, "num_warps": launch.ROI_WARPS}
    return compiled(frames.frames_kernel, {**arguments, **numbers}, {**constants, **more}, **options)


class Call:
    """The kernels of a call in one dtype and layout."""

    def __init__(self, element: str, channels_last: bool) -> None:
        self.element, self.last, self.size = element, channels_last, FLOATS[element]
        self.vector = 16 // self.size if channels_last else 1
        self.arguments = {"rois": "*fp32", "frames": "*fp64", "places": "*i32", **SAMPLING}
        self.arguments |= {"features": ("*" + element,) * LEVELS, "strides": (MAPS,) * 4, "channels": "i32"}
        self.gradient = {"grad_output": "*" + element, "grad_strides": ("i32",) * 4}
        self.answer = {"out": "*" + element, "out_strides": ("i32",) * 4}

    def of_block(
        self, kernel: Any, sizes: Any, spec: PointsSpec, arguments: Any, vector: str, **more: Any
    ) -> dict[str, Any]:
        last = self.last and spec.CHANNELS_OF == "same"
        block, aligned = sizes[last][self.size], self.vector if last else 1
        constants = {"SPEC": spec, "LEVELS": LEVELS, "CHANNELS_LAST": last, "VECTOR": aligned}
        constants |= {vector: aligned, "BINS": block.bins, "CHANNELS": block.channels}
        constants |= {name: value for name, value in (("WIDE", False), ("SHIFT", 16)) if name in kernel.arg_names}
        of_winners = kernel in (pointwise_maxima.winners_kernel, pointwise_geometry.winners_sums_kernel)
        options = {**OPTIONS, "num_warps": block.warps * (launch.WINNERS_WARPS if of_winners else 1)}
        return compiled(kernel, {**self.arguments, **arguments}, {**constants, **more}, **options)

    def mean(self, spec: PointsSpec, tangent: bool = False) -> dict[str, Any]:
        arguments = {**self.answer, "tangent": "*fp64", "order": "*i32", "has_order": "i32", "orientations": "i32"}
        arguments["spans"] = "*i32"
        kernel = pointwise_means.mean_kernel
        return self.of_block(kernel, launch.POINTS_FORWARD, spec, arguments, "OUT_VECTOR", TANGENT=tangent)

    def maximum(
        self, spec: PointsSpec, writes: bool = True, tells: bool = False, reduction: str = "max"
    ) -> dict[str, Any]:
        arguments = {**self.answer, "order": "*i32", "has_order": "i32", "winners": "*i32", "spans": "*i32"}
        more = {"WRITES": writes, "TELLS": tells, "REDUCTION": reduction}
        return self.of_block(
            pointwise_maxima.maximum_kernel, launch.POINTS_FORWARD, spec, arguments, "OUT_VECTOR", **more
        )

    def winners(self, spec: PointsSpec) -> dict[str, Any]:
        arguments = {**self.answer, "tangent": "*fp64", "winners": "*i32"}
        more = {"TANGENT": True, "REDUCTION": "max"}
        return self.of_block(pointwise_maxima.winners_kernel, launch.POINTS_SUMS, spec, arguments, "OUT_VECTOR", **more)

    def mean_sums(self, spec: PointsSpec) -> dict[str, Any]:
        arguments = {**self.gradient, "order": "*i32", "has_order": "i32", "partial": "*fp64", "orientations": "i32"}
        kernel = pointwise_geometry.mean_sums_kernel
        return self.of_block(kernel, launch.POINTS_SUMS, spec, arguments, "GRAD_VECTOR")

    def winners_sums(self, spec: PointsSpec) -> dict[str, Any]:
        arguments = {**self.gradient, "winners": "*i32", "partial": "*fp64"}
        kernel = pointwise_geometry.winners_sums_kernel
        return self.of_block(kernel, launch.POINTS_SUMS, spec, arguments, "GRAD_VECTOR", REDUCTION="max")

    def to_features(self, spec: PointsSpec, reduction: str, tangent: bool = False) -> dict[str, Any]:
        sizes = launch.POINTS_FEATURES if reduction == "mean" else launch.POINTS_FEATURES_MAX
        sizes = launch.POINTS_FEATURES_POSITION if spec.CHANNELS_OF == "position" else sizes
        tile = sizes[self.last][self.size]
        aligned = self.vector if spec.CHANNELS_OF == "same" else 1
        arguments = {**self.arguments, **self.gradient, "tangent": "*fp64", "spans": "*i32", "winners": "*i32"}
        arguments |= dict.fromkeys(("touched", "counts", "shares"), "*i32") | {"partial": "*fp32", "slots": "i32"}
        arguments |= {"grad_features": arguments.pop("features"), "heights": MAPS, "widths": MAPS}
        arguments |= {"first_tiles": MAPS, "words": "i32", "orientations": "i32"}
        del arguments["places"]
        constants = {"SPEC": spec, "LEVELS": LEVELS, "VECTOR": aligned, "GRAD_VECTOR": aligned}
        of_winners = launch.WINNERS_BINS if spec.RULE == "pixels" else 1
        constants |= {"BINS": 64, "AT_ONCE": launch.POINTS_BINS if reduction == "mean" else of_winners}
        constants |= {
            "REDUCTION": reduction,
            "TANGENT": tangent,
            "WIDE": False,
            "SHIFT": 16,
            "PLANAR": not self.last,
        }
        constants |= {"TILE_Y": tile.rows, "TILE_X": tile.columns, "CHANNELS": tile.channels, "ADDS": False}
        constants |= {"POINTS": launch.POINTS_AT_ONCE}
        options = {**OPTIONS, "num_warps": tile.warps}
        return compiled(pointwise_features.adjoint_points_kernel, arguments, constants, **options)


def geometry() -> dict[str, Any]:
    arguments = {"rois": "*fp32", "frames": "*fp64", "places": "*i32", "partial": "*fp64", "grad_rois": "*fp32"}
    arguments |= {"blocks": "i32", "gamma_bits": "i64"}
    constants = {"SPEC": DEFORM.without_points(), "BINS": 64}
    return compiled(pointwise_geometry.geometry_kernel, arguments, constants, **OPTIONS, num_warps=launch.ROI_WARPS)


def all_kernels(part: str) -> list[dict[str, Any]]:
    last, planes = Call("fp16", True), Call("fp32", False)
    if part == "tables":
        return [of_frames("box", KEEPS=True), of_frames("rotated", KEEPS=True), geometry()]
    if part == "forward":
        answers = [last.mean(ROTATED), last.mean(RIROI), planes.mean(DEFORM), planes.mean(PS_POOL)]
        answers += [last.mean(ROTATED, True), last.maximum(ROI_POOL, True, True), planes.maximum(EXACT)]
        return [
            *answers,
            last.maximum(BOX, False, True),
            planes.maximum(BOX, reduction="corner_max"),
            last.winners(BOX),
        ]
    answers = [last.mean_sums(ROTATED), last.mean_sums(RIROI), planes.mean_sums(DEFORM), last.winners_sums(BOX)]
    answers += [last.to_features(ROTATED, "mean"), planes.to_features(RIROI, "mean")]
    answers += [planes.to_features(DEFORM, "mean"), planes.to_features(PS_POOL, "mean")]
    return [*answers, last.to_features(ROI_POOL, "max"), planes.to_features(BOX, "corner_max")]


if __name__ == "__main__":
    for part in sys.argv[1:]:
        for answer in all_kernels(part):
            print(json.dumps([part, answer]), flush=True)  # noqa: T201
