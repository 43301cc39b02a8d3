"""roialign: one call for all levels."""

from __future__ import annotations

from typing import Any

import numpy as np

import roialign

from ..operators import OPERATORS
from .work import Array, Inputs, Work, aligned_empty, nchw


def versions() -> dict[str, str]:
    info = roialign.build_info()
    return {"roialign": str(info["version"]), "compiler": str(info["compiler"]), "instruction set": str(info["isa"])}


def prepare(inputs: Inputs) -> Work:
    maps = inputs.maps(inputs.layout, inputs.dtype)
    if inputs.operator != "mean":
        return _operator(inputs, maps[0])
    arguments: dict[str, Any] = {
        "sampling_ratio": inputs.sampling_ratio,
        "sampling": "exact" if inputs.sampling == "exact" else "grid",
        "layout": inputs.layout,
    }
    prepare_direction = _forward if inputs.direction == "forward" else _backward
    work = prepare_direction(inputs, maps, arguments)
    work.select = lambda: roialign.set_num_threads(inputs.threads)
    if inputs.surrounded:
        _surround(work, maps)
    return work


def _operator(inputs: Inputs, features: Array) -> Work:
    """Prepare another operator on one level."""
    operator = OPERATORS[inputs.operator]
    where = (features, inputs.rois, inputs.output_size, inputs.scales[0], inputs.sampling_ratio, inputs.layout)
    if inputs.direction == "forward":
        out = np.empty_like(operator.forward(*where, None)) if inputs.output == "reused" else None
        if out is not None:
            out = aligned_empty(out.shape, inputs.dtype)

        def run() -> Array:
            return operator.forward(*where, out)
    else:
        gradient = inputs.grad_output(inputs.layout, inputs.dtype)
        need = "features" if inputs.direction == "backward-features" else "rois"

        def run() -> Array:
            return operator.backward(gradient, *where, need)

    def answer() -> list[Array]:
        found = run()
        return [found if inputs.direction == "backward-boxes" else nchw(found, inputs.layout)]

    return Work(run, answer, select=lambda: roialign.set_num_threads(inputs.threads))


def _forward(inputs: Inputs, maps: list[Array], arguments: dict[str, Any]) -> Work:
    out = _output(inputs, maps[0]) if inputs.output == "reused" else None

    def run() -> Array:
        if len(maps) == 1:
            return roialign.roi_align(maps[0], inputs.rois, inputs.output_size, inputs.scales[0], out=out, **arguments)
        return roialign.multiscale_roi_align(maps, inputs.rois, inputs.output_size, inputs.scales, out=out, **arguments)

    def answer() -> list[Array]:
        if out is not None:
            out.fill(np.nan)  # makes unwritten elements visible
        return [nchw(run(), inputs.layout)]

    return Work(run, answer)


def _backward(inputs: Inputs, maps: list[Array], arguments: dict[str, Any]) -> Work:
    gradient = inputs.grad_output(inputs.layout, inputs.dtype)
    need = ("features",) if inputs.direction == "backward-features" else ("rois",)

    def run() -> tuple[Any, Any]:
        if len(maps) == 1:
            grad_map, grad_rois = roialign.roi_align_backward(
                gradient, maps[0], inputs.rois, inputs.scales[0], need=need, **arguments
            )
            return [grad_map], grad_rois
        return roialign.multiscale_roi_align_backward(
            gradient, maps, inputs.rois, inputs.scales, need=need, **arguments
        )

    def answer() -> list[Array]:
        grad_maps, grad_rois = run()
        if need == ("rois",):
            return [grad_rois[:, 1:]]
        return [nchw(grad_map, inputs.layout) for grad_map in grad_maps]

    return Work(run, answer)


def _surround(work: Work, maps: list[Array]) -> None:
    """Return a pass that writes the maps before each call, and one that reads the output after it."""
    sources = [array.copy() for array in maps]

    def produce() -> None:
        for source, target in zip(sources, maps, strict=True):
            np.multiply(source, source.dtype.type(1), out=target)

    work.produce, work.consume = produce, lambda answer: answer.sum()


def _output(inputs: Inputs, first: Array) -> Array:
    channels = first.shape[1 if inputs.layout == "NCHW" else 3]
    shape = (len(inputs.rois), *inputs.output_size, channels)
    if inputs.layout == "NCHW":
        shape = (len(inputs.rois), channels, *inputs.output_size)
    return aligned_empty(shape, inputs.dtype)
