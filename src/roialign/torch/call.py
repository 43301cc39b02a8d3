"""Calls of the public functions with tensors: validation and conversion, for both families."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _validate
from .._derivatives import Inputs, Operator, Setting
from .._options import Options
from .._rows import IMAGES_FROM, OF_LIST
from .._warnings import last_call, warn_of_rois
from . import checks
from .backends import OUTLINED, check_backend
from .memory import is_channels_last
from .rois import rows_of
from .wiring.families import PAIRINGS
from .wiring.primitive import in_memory
from .wiring.tracing import is_traced, is_transformed


class Call:
    """The arguments that a forward function and its ``*_backward`` function share, validated without reading values."""

    def __init__(
        self,
        spec: Any,
        features: Sequence[Any],
        scales: Sequence[float],
        rois: object,
        options: Options,
    ) -> None:
        self.pairing, self.layout = PAIRINGS[spec.family()], options.layout
        self.features = _check_all_features(features, options.layout)
        first = self.features[0]
        check_backend(first, options.backend)
        self.rois, self.restore = rows_of(rois, first, options.batch_indices, options.rois_name, spec.geometry())
        levels = options.levels
        if levels is not None:
            levels = checks.check_indices(levels, self.rois.shape[0], "levels", "rois")
            checks.check_device(levels, first.device, "levels")
        key: Tensor | None = None
        if spec.rule == "random":
            seed = options.seed
            if options.drawn and (seed is None or isinstance(seed, torch.Generator)):
                key = torch.randint(2**63 - 1, (), generator=seed, device="cpu" if seed is None else seed.device)
            else:
                spec = spec._replace(seed=_validate.check_seed(seed, drawn=options.drawn))
        self.spec, self.offset, self.mask = spec, options.offset, options.mask
        deciding = options.deciding
        if deciding is None:
            deciding = tuple([level.detach() for level in self.features]) if spec.decides() else ()
        self.inputs = Inputs(self.features, None, self.rois, levels, key, (), deciding)
        name = self.rois_name = options.rois_name
        if isinstance(rois, (list, tuple)):
            name += OF_LIST
        elif options.batch_indices is not None:
            name += IMAGES_FROM + options.indices_name
        self.described = (tuple(scales), options.assignment, options.invalid, options.backend, name)

    def forward(self, output_size: tuple[int, int], out: object = None) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` in the NHWC layout."""
        if is_traced(self.rois) or is_transformed():
            return self._forward(output_size, out)
        last_call.report = None
        output = self._forward(output_size, out)
        if last_call.report is not None and self.rois_name == "rois":
            warn_of_rois(last_call.report, self.rois_name)
        return output

    def _forward(self, output_size: tuple[int, int], out: object) -> Tensor:
        setting, inputs = self.with_bins(output_size)
        channels = self._out_channels(output_size)
        setting = setting._replace(output_size=output_size)
        if out is not None:
            return self._forward_into(out, channels, setting, inputs)
        (output,) = self.pairing.forward(setting, inputs)
        return checks.own_layout(output, self.layout)

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
        bins = (gradient.shape[2], gradient.shape[3])
        setting, inputs = self.with_bins(bins)
        phi = inputs._replace(grad_output=gradient)
        results: dict[str, Any] = dict.fromkeys(names)
        if names[0] in wanted:
            sizes = tuple([size for level in self.features for size in level.shape])
            gradients = self.pairing.adjoint_features(setting._replace(map_sizes=sizes), phi._replace(features=()))
            results[names[0]] = [checks.own_layout(level, self.layout) for level in gradients]
        if set(wanted) - {names[0]}:
            (rows,) = self.pairing.adjoint_boxes(setting, phi)
            results.update(self._of_rows(rows, names[1], bins))
        return tuple([results[name] if name in wanted else None for name in names])

    def _forward_into(self, out: object, channels: int, setting: Setting, inputs: Inputs) -> Tensor:
        bins_y, bins_x = setting.output_size
        count, given = self.rois.shape[0], (*self.features, self.rois)
        shape = (count, channels, bins_y, bins_x) if self.layout == "NCHW" else (count, bins_y, bins_x, channels)
        tensor = checks.check_out(out, shape, given)
        if is_traced(tensor) or tensor.is_meta or tensor.is_neg():
            (output,) = self.pairing.forward(setting, inputs)
            tensor.copy_(checks.own_layout(output, self.layout))
            return tensor
        checks.check_memory_apart(tensor, given)
        self.pairing.forward.fill(setting, in_memory(inputs), (checks.nchw(tensor, self.layout),))
        torch.autograd.graph.increment_version(tensor)
        return tensor

    def with_bins(self, bins: tuple[int, int]) -> tuple[Setting, Inputs]:
        """Check offsets and masks, which have one value per bin, and append them to the rows of the RoIs."""
        count, parts = self.rois.shape[0], [self.rois]
        if self.offset is not None:
            parts.append(checks.check_per_bin(self.offset, "offset", (count, 2, *bins), self.rois))
        if self.mask is not None:
            parts.append(checks.check_per_bin(self.mask, "mask", (count, *bins), self.rois))
        operator = Operator(self.spec, *self.described, bins, self.offset is not None, self.mask is not None)
        setting = Setting(operator, (), (), is_channels_last(self.features[0]))
        if len(parts) == 1:
            return setting, self.inputs
        return setting, self.inputs._replace(rois=torch.cat([part.double() for part in parts], dim=1))

    def _of_rows(self, rows: Tensor, name: str, bins: tuple[int, int]) -> dict[str, Any]:
        """Split the gradient of the rows into gradients in the form of each argument."""
        place = self.rois.shape[1]
        boxes = rows if rows.shape[1] == place else rows[:, :place]
        results = {name: self.restore(boxes.to(checks.gradient_dtype(self.rois)))}
        for given, of, numbers in ((self.offset, "offset", 2), (self.mask, "mask", 1)):
            if isinstance(given, Tensor):
                end = place + numbers * math.prod(bins)
                part = rows[:, place:end].reshape(given.shape)
                results[of], place = part.to(checks.gradient_dtype(given)), end
        return results

    def _out_channels(self, bins: tuple[int, int]) -> int:
        return self.spec.out_channels(self.features[0].shape[1], bins)  # type: ignore[no-any-return]


def _check_all_features(features: Sequence[Any], layout: str) -> tuple[Tensor, ...]:
    if len(features) == 1:
        return (checks.check_features(features[0], layout, "features"),)
    levels = [checks.check_features(level, layout, f"features[{index}]") for index, level in enumerate(features)]
    device = levels[0].device.type
    if device != OUTLINED and torch.is_autocast_enabled(device):
        # With autocast, maps can have different dtypes. The widest one is used.
        widest = levels[0].dtype
        for level in levels[1:]:
            widest = torch.promote_types(widest, level.dtype)
        levels = [level.to(widest) for level in levels]
    checks.check_levels_alike(levels)
    return tuple(levels)
