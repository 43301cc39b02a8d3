"""Calls of the public functions with JAX arrays: validation and conversion, for both families."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .. import _core, _validate
from .._array_checks import check_levels_alike, names_of_levels, nchw_shape
from .._core_specs import core_levels, core_spec
from .._derivatives import Inputs, Operator, Setting
from .._levels import check_level_range, levels_of
from .._options import Options
from .._regions import Regions
from .._rows import check_offset
from .._warnings import INVERTED_BOXES, RoIReport, warn_of_rois
from . import checks
from .backends import check_backend
from .dtypes import joined, like, wide
from .rois import rows_of
from .wiring.pairing import PAIRINGS


class Call:
    """The arguments that a forward function and its ``*_backward`` function share, validated."""

    def __init__(
        self,
        spec: Any,
        features: Sequence[object],
        scales: Sequence[float],
        rois: object,
        options: Options,
    ) -> None:
        check_backend(options.backend)
        self.spec, self.options, self.layout = spec, options, options.layout
        names = names_of_levels(len(features))
        self.features = tuple(
            [checks.check_features(level, options.layout, name) for level, name in zip(features, names, strict=True)]
        )
        check_levels_alike(self.features, options.layout)
        seed = _halves_of_seed(options, checks.is_concrete(*self.features)) if spec.rule == "random" else None
        images, self.channels = nchw_shape(self.features[0].shape, options.layout)[:2]
        names_of_rois = options.rois_name, options.indices_name
        self.offset, self.mask = (
            None if given is None else checks.check_array(given, name)
            for given, name in ((options.offset, "offset"), (options.mask, "mask"))
        )
        self.rois, self.checked, self.restore = rows_of(
            rois, images, options.batch_indices, *names_of_rois, spec.geometry(), options.invalid
        )
        levels = options.levels
        if levels is not None:
            levels = checks.check_indices(levels, self.rois.shape[0], "levels", "rois")
            if checks.is_concrete(levels):
                check_level_range(np.asarray(levels), len(scales))
        deciding = options.deciding
        if deciding is None:
            deciding = tuple(map(jax.lax.stop_gradient, self.features)) if spec.decides() else ()
        self.inputs = Inputs(self.features, None, self.rois, levels, seed, (), deciding)
        self.described = (tuple(scales), options.assignment, options.invalid, None, options.rois_name)
        self.pairing = PAIRINGS[spec.family()]

    def forward(self, output_size: tuple[int, int], out: object = None) -> Array:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` in the NHWC layout."""
        if out is not None:
            raise ValueError("out: expected None for JAX arrays, which cannot be written to; got an array")
        self._out_channels(output_size)
        setting, inputs = self._with_bins(output_size)
        output: Array = self.pairing.forward(setting._replace(output_size=output_size), inputs)[0]
        is_eager = self.checked is not None and checks.is_concrete(self.inputs.levels, *self.features)
        if is_eager and self.options.rois_name == "rois":
            self._warn_of_rois(self.checked)
        return output

    def _warn_of_rois(self, rows: Any) -> None:
        """Warn about RoIs that are probably a mistake."""
        scales, assignment, *_ = self.described
        given = None if self.inputs.levels is None else np.asarray(self.inputs.levels)
        regions = Regions(scales, rows, levels_of(rows, scales, given, assignment))
        sizes = [nchw_shape(level.shape, self.layout)[2:] for level in self.features]
        pyramid = core_levels(scales, assignment)
        found = _core.suspicions(core_spec(self.spec), rows, pyramid, regions.levels, sizes)
        if self.offset is not None:  # which may move bins anywhere
            found &= INVERTED_BOXES
        if found:
            warn_of_rois(RoIReport(found, regions, sizes), "rois")

    def backward(
        self, grad_output: object, need: Sequence[str], names: Sequence[str] = ("features", "rois")
    ) -> tuple[Any, ...]:
        """Return the gradients in order. A gradient that is not needed is None.

        The first is the gradient of the levels, in their layout. The second is that of the RoIs, in their structure.
        Those of "offset" and "mask" may follow.
        """
        wanted = _validate.check_need(need, names)
        gradient = checks.check_grad_output(
            grad_output, self.features[0], self.rois.shape[0], self.layout, self._out_channels
        )
        bins = checks.bins_of(gradient, self.layout)
        setting, inputs = self._with_bins(bins)
        phi = inputs._replace(grad_output=gradient)
        results: dict[str, Any] = dict.fromkeys(names)
        if names[0] in wanted:
            sizes = [size for level in self.features for size in nchw_shape(level.shape, self.layout)]
            of_maps = setting._replace(map_sizes=tuple(sizes))
            results[names[0]] = list(self.pairing.adjoint_features(of_maps, phi._replace(features=())))
        if set(wanted) - {names[0]}:
            (rows,) = self.pairing.adjoint_boxes(setting, phi)
            results.update(self._of_rows(rows, names[1]))
        return tuple([results[name] if name in wanted else None for name in names])

    def _with_bins(self, bins: tuple[int, int]) -> tuple[Setting, Inputs]:
        """Check offsets and masks, which have one value per bin, and append them to the rows of the RoIs."""
        count, parts, numbers = self.rois.shape[0], [self.rois], math.prod(bins)
        if self.offset is not None:
            checks.check_per_bin(self.offset, "offset", (count, 2, *bins))
            if checks.is_concrete(self.offset):
                check_offset(np.asarray(self.offset).astype(np.float64), self.options.invalid)
            parts.append(wide(self.offset).reshape(count, 2 * numbers))
        if self.mask is not None:
            checks.check_per_bin(self.mask, "mask", (count, *bins))
            parts.append(wide(self.mask).reshape(count, numbers))
        operator = Operator(self.spec, *self.described, bins, self.offset is not None, self.mask is not None)
        rows = joined(parts, axis=1) if len(parts) > 1 else self.rois
        return Setting(operator, (), (), self.layout == "NHWC"), self.inputs._replace(rois=rows)

    def _of_rows(self, rows: Array, name: str) -> dict[str, Any]:
        """Split the gradient of the rows into gradients in the form of each argument."""
        place = self.rois.shape[1]
        results = {name: self.restore(rows[:, :place])}
        for given, of in ((self.offset, "offset"), (self.mask, "mask")):
            if given is not None:
                end = place + math.prod(given.shape[1:])
                results[of], place = like(rows[:, place:end].reshape(given.shape), given), end
        return results

    def _out_channels(self, bins: tuple[int, int]) -> int:
        channels: int = self.spec.out_channels(self.channels, bins)
        return channels


def _halves_of_seed(options: Options, is_eager: bool) -> Array:
    """The seed of random sampling as two numbers. An array, so that nothing is compiled again for another seed."""
    seed = options.seed
    if isinstance(seed, Array):
        if not jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and seed.dtype != jnp.uint32:
            raise TypeError(f"seed: expected an int or a key of jax.random, got an array of {seed.dtype}")
        try:
            return jax.random.bits(seed, (2,), jnp.uint32)
        except (TypeError, ValueError) as error:
            kind = f"an array of {seed.dtype} of shape {seed.shape}"
            raise type(error)(f"seed: expected an int or one key of jax.random, got {kind}") from error
    if seed is None and options.drawn:
        raise ValueError("seed: expected an int or a key of jax.random, because JAX has no default generator; got None")
    if isinstance(seed, np.random.Generator) and not is_eager:
        raise TypeError(
            "seed: expected an int or a key of jax.random within a function that JAX traces, got a numpy Generator, "
            "which would be drawn from only once"
        )
    number = _validate.check_seed(seed, drawn=options.drawn)
    return jnp.asarray(np.array([number >> 32, number & 0xFFFFFFFF], dtype=np.uint32))
