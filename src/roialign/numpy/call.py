"""Calls of the public functions with NumPy arrays: validation and conversion, for both families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _validate
from .._array_checks import names_of_levels
from .._levels import levels_of
from .._memory import empty
from .._options import Options
from .._regions import Geometry, Regions
from .._rows import check_offset_rows
from .._typing import Array
from .._warnings import RoIReport, warn_of_rois
from . import checks
from .backends import backend_for
from .rois import gradient_dtype, rows_of


class Call:
    """The validated arguments that a forward function and its ``*_backward`` function share."""

    def __init__(
        self,
        spec: Any,
        features: Sequence[object],
        scales: Sequence[float],
        rois: object,
        options: Options,
    ) -> None:
        if spec.rule == "random":
            spec = spec._replace(seed=_validate.check_seed(options.seed, drawn=options.drawn))
        self.spec, self.options, self.layout = spec, options, options.layout
        self.backend = backend_for(spec.family(), options.backend)
        names = names_of_levels(len(features))
        self.features = [
            checks.check_features(level, options.layout, name) for level, name in zip(features, names, strict=True)
        ]
        checks.check_levels_alike(self.features)
        names_of_rois = options.rois_name, options.indices_name
        images, structure = self.features[0].shape[0], (options.batch_indices, options.invalid, *names_of_rois)
        self.rois = rows_of(rois, images, *structure, spec.geometry())
        rows, levels = self.rois.rows, options.levels
        given = None if levels is None else checks.check_indices(levels, len(rows), "levels", "rois")
        self.regions = Regions(scales, rows, levels_of(rows, scales, given, options.assignment))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.features[0].dtype

    def forward(self, output_size: tuple[int, int], out: object = None) -> Array:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` in the NHWC layout."""
        regions = self._regions_with_bins(output_size)
        shape = self._own_layout((len(regions.rows), self._out_channels(output_size), *output_size))
        if out is None:
            output = empty(shape, self.dtype)
        else:
            output = checks.check_out(out, shape, self.dtype, [*self.features, regions.rows])
        suspicions = self.backend.forward(self.spec, self.features, regions, checks.nchw(output, self.layout))
        if suspicions and self.options.rois_name == "rois":
            sizes = [(level.shape[2], level.shape[3]) for level in self.features]
            warn_of_rois(RoIReport(suspicions, regions, sizes), "rois")
        return output

    def backward(
        self, grad_output: object, need: Sequence[str], names: Sequence[str] = ("features", "rois")
    ) -> tuple[Any, ...]:
        """Return the gradients in order. A gradient that is not needed is None.

        The first is the gradient of the levels, in their layout. The second is that of the RoIs, in their structure.
        Those of "offset" and "mask" may follow.
        """
        wanted = _validate.check_need(need, names)
        gradient = checks.check_grad_output(
            grad_output, self.features[0], len(self.rois.rows), self.layout, self._out_channels
        )
        regions = self._regions_with_bins((gradient.shape[2], gradient.shape[3]))
        results: dict[str, Any] = dict.fromkeys(names)
        if names[0] in wanted:
            results[names[0]] = self._backward_features(gradient, regions)
        if set(wanted) - {names[0]}:
            found = self.backend.adjoint_geometry(self.spec, gradient, self.features, regions)
            results.update(self._of_geometry(found, names[1]))
        return tuple(results[name] if name in wanted else None for name in names)

    def _backward_features(self, gradient: Array, regions: Regions) -> list[Array]:
        gradients = [empty(self._own_layout(level.shape), self.dtype) for level in self.features]
        maps = [checks.nchw(level, self.layout) for level in gradients]
        self.backend.adjoint_features(self.spec, gradient, self.features, regions, maps)
        return gradients

    def _of_geometry(self, gradient: Geometry, name: str) -> dict[str, Any]:
        """The gradients by name, each in the dtype of its argument."""
        results = {name: self.rois.restore(gradient.boxes)}
        for part, given, of in (
            (gradient.offset, self.options.offset, "offset"),
            (gradient.mask, self.options.mask, "mask"),
        ):
            if part is not None and isinstance(given, np.ndarray):
                results[of] = part.astype(gradient_dtype(given.dtype), copy=False)
        return results

    def _regions_with_bins(self, bins: tuple[int, int]) -> Regions:
        """Check offsets and masks. They have one value per bin, so the number of bins must be known."""
        regions = self.regions
        count = len(regions.rows)
        if self.options.offset is not None:
            given = checks.check_per_bin(self.options.offset, "offset", (count, 2, *bins))
            rows, offset = check_offset_rows(regions.rows, given, self.options.invalid)
            regions = regions._replace(rows=rows, offset=offset)
        if self.options.mask is not None:
            mask = checks.check_per_bin(self.options.mask, "mask", (count, *bins)).astype(np.float64)
            regions = regions._replace(mask=mask)
        return regions

    def _out_channels(self, bins: tuple[int, int]) -> int:
        return int(self.spec.out_channels(self.features[0].shape[1], bins))

    def _own_layout(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self.layout == "NCHW" else (shape[0], shape[2], shape[3], shape[1])
