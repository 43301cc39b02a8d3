"""Batching for torch.vmap: an additional dimension on any input, computed by one call of the same function.

Channels are independent. If only the features are batched, the members of the batch therefore become additional
channels. Otherwise each member adds its own boxes and, if its features are batched too, its own images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ..._derivatives import Inputs, Outputs, Setting

Batched = tuple[Outputs, tuple[int, ...]]
T = TypeVar("T")


class Batchable(Protocol):
    """The interface of a primitive that can be batched."""

    @property
    def returns_boxes(self) -> bool: ...
    def __call__(self, setting: Setting, inputs: Inputs) -> Outputs: ...
    def outline(self, setting: Setting, inputs: Inputs) -> Outputs: ...


def batch(primitive: Batchable, setting: Setting, inputs: Inputs, dims: Inputs, size: int) -> Batched:
    """Return the results, and the batch dimension of each."""
    if size == 0:
        return _of_no_members(primitive, setting, inputs, dims)
    boxes = (dims.rois, dims.levels, dims.drawn_seed, *dims.tangents)
    same_boxes = all(dim is None for dim in boxes)
    sums_channels = bool(inputs.features) and inputs.grad_output is not None
    if same_boxes and not sums_channels and not setting.operator.spec.mixes_channels():
        return _as_channels(primitive, setting, inputs, dims, size)
    if setting.operator.spec.counts_rows():
        return _one_by_one(primitive, setting, inputs, dims, size)
    try:
        return _as_rows(primitive, setting, inputs, dims, size)
    except ValueError as error:
        of_all_rows = error
    _one_by_one(primitive, setting, inputs, dims, size)  # raises an error too, which names the row
    raise of_all_rows


def in_member(index: int, function: Callable[[], T]) -> T:
    """Call the function. An error about a row also names the member of the batch."""
    try:
        return function()
    except ValueError as error:
        raise ValueError(f"{error} (member {index} of torch.vmap's batch)") from None


def member_of_zeros(values: Sequence[Any], dims: Sequence[int | None]) -> list[Any]:
    """A member of a batch, made up for a batch that has none."""
    return [
        value if dim is None else value.new_zeros([*value.shape[:dim], *value.shape[dim + 1 :]])
        for value, dim in zip(values, dims, strict=True)
    ]


def no_results(outputs: Outputs) -> Batched:
    """The results of a batch without members, given those of a member, and the batch dimension of each."""
    return tuple([output.new_empty((0, *output.shape)) for output in outputs]), (0,) * len(outputs)


def _first(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """Move the batch dimension to the front, or repeat the tensor if it has none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _as_channels(primitive: Batchable, setting: Setting, inputs: Inputs, dims: Inputs, size: int) -> Batched:
    def fold(tensor: Tensor, dim: int | None) -> Tensor:
        return _first(tensor, dim, size).movedim(0, 1).flatten(1, 2)

    def unfold(tensor: Tensor) -> Tensor:
        return tensor.reshape(tensor.shape[0], size, tensor.shape[1] // size, *tensor.shape[2:])

    features = tuple([fold(level, dim) for level, dim in zip(inputs.features, dims.features, strict=True)])
    deciding = tuple([fold(level, dim) for level, dim in zip(inputs.deciding, dims.deciding, strict=True)])
    gradient = None if inputs.grad_output is None else fold(inputs.grad_output, dims.grad_output)
    setting = setting._replace(map_sizes=_scaled(setting.map_sizes, 1, size))
    outputs = primitive(setting, inputs._replace(features=features, grad_output=gradient, deciding=deciding))
    return tuple([unfold(output) for output in outputs]), (1,) * len(outputs)


def _as_rows(primitive: Batchable, setting: Setting, inputs: Inputs, dims: Inputs, size: int) -> Batched:
    def fold(tensor: Tensor | None, dim: int | None) -> Tensor | None:
        return None if tensor is None else _first(tensor, dim, size).flatten(0, 1)

    own_maps = not inputs.features or any(dim is not None for dim in (*dims.features, *dims.deciding))
    rois = _first(inputs.rois, dims.rois, size)
    if own_maps:
        images = setting.map_sizes[0] if not inputs.features else _images(inputs, dims)
        rois = _numbered_on(rois, images, size)
    folded = Inputs(
        tuple([fold(level, dim) for level, dim in zip(inputs.features, dims.features, strict=True)])
        if own_maps
        else inputs.features,
        fold(inputs.grad_output, dims.grad_output),
        rois.flatten(0, 1),
        fold(inputs.levels, dims.levels),
        inputs.drawn_seed,
        tuple([fold(tangent, dim) for tangent, dim in zip(inputs.tangents, dims.tangents, strict=True)]),
        tuple([fold(level, dim) for level, dim in zip(inputs.deciding, dims.deciding, strict=True)])
        if own_maps
        else inputs.deciding,
    )
    setting = setting._replace(map_sizes=_scaled(setting.map_sizes, 0, size))
    outputs = [
        output.reshape(size, output.shape[0] // size, *output.shape[1:]) for output in primitive(setting, folded)
    ]
    if primitive.returns_boxes and inputs.rois.is_floating_point():
        outputs = [output.to(inputs.rois.dtype) for output in outputs]
    return tuple(outputs), (0,) * len(outputs)


def _one_by_one(primitive: Batchable, setting: Setting, inputs: Inputs, dims: Inputs, size: int) -> Batched:
    """One call per member, if the result of a box depends on its row, or if an error must name the row."""
    values, layout = inputs.flat()
    places = dims.flat()[0]

    def result_of(index: int) -> Outputs:
        own = [value if dim is None else value.select(dim, index) for value, dim in zip(values, places, strict=True)]
        return in_member(index, partial(primitive, setting, Inputs.of(own, layout)))

    results = [result_of(index) for index in range(size)]
    outputs = tuple([torch.stack(parts) for parts in zip(*results, strict=True)])
    return outputs, (0,) * len(outputs)


def _of_no_members(primitive: Batchable, setting: Setting, inputs: Inputs, dims: Inputs) -> Batched:
    """Empty results for a batch without members, with the shapes of the results for one member."""
    values, layout = inputs.flat()
    return no_results(primitive.outline(setting, Inputs.of(member_of_zeros(values, dims.flat()[0]), layout)))


def _images(inputs: Inputs, dims: Inputs) -> int:
    """The number of images of each member of the batch."""
    level, dim = inputs.features[0], dims.features[0]
    return int(level.shape[0 if dim is None or dim > 0 else 1])


def _numbered_on(rois: Tensor, images: int, size: int) -> Tensor:
    """Rows ``[B, K, 5]`` with images numbered over all members. Invalid image indices stay invalid."""
    rois = rois.double()  # float64 represents all these numbers exactly
    image = rois[..., :1]
    before = images * torch.arange(size, device=rois.device, dtype=rois.dtype)[:, None, None]
    step: Any = torch.where(image < images, torch.where(image >= 0, before, 0.0), float(images * size))
    return torch.cat([image + step, rois[..., 1:]], dim=-1)


def _scaled(map_sizes: tuple[int, ...], place: int, factor: int) -> tuple[int, ...]:
    return tuple([value * factor if index % 4 == place else value for index, value in enumerate(map_sizes)])
