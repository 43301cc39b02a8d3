"""Every pair of options of every operator on tensors: the bits of arrays, and derivatives and batches that agree."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tables.combinations import OPTIONS, covering
from tests.tables.drawn_calls import DrawnCall
from tests.tables.tolerances import assert_close, assert_same_bits

every_operator = pytest.mark.parametrize("name", OPTIONS)
pytestmark = pytest.mark.filterwarnings("ignore::roialign.RoIWarning")


def tensor_of(array: Any) -> Tensor:
    """A tensor with the same strides, if torch can have them."""
    if array.dtype == ml_dtypes.bfloat16:
        return tensor_of(array.astype(np.float32)).bfloat16()
    if not array.flags.writeable:  # expanded
        inner = array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)]
        return torch.from_numpy(inner.copy()).expand(array.shape)
    return torch.from_numpy(array.copy() if min(array.strides) < 0 else array)


def array_of(tensor: Tensor) -> Any:
    tensor = tensor.detach()
    return tensor.float().numpy().astype(ml_dtypes.bfloat16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def as_tensors(given: Any) -> Any:
    if isinstance(given, list):
        return [as_tensors(item) for item in given]
    return tensor_of(given) if isinstance(given, np.ndarray) else given


def has_strides_of_torch(call: DrawnCall) -> bool:
    """Whether tensors have the strides of the arrays, which decide in what order sums are taken."""
    return call.options["memory"] != "negative" and call.options["dtype"] != "bfloat16"


# The same as arrays


def check_bits(call: DrawnCall) -> None:
    """Without a gradient, with one, and by the twin."""
    features, gradient = as_tensors(call.features), as_tensors(call.gradient)
    keywords = {name: as_tensors(value) for name, value in call.keywords.items()}
    expected = [call.forward(), *call.parts(call.backward())]
    plain = call.forward(features=features, **keywords)
    twin = call.parts(call.backward(grad_output=gradient, features=features, **keywords))
    for found, right in zip([plain, *twin], expected, strict=True):
        if has_strides_of_torch(call):
            assert_same_bits(array_of(found), right, "tensors and arrays")
    leaves = [part for name in ["features", *call.moving] for part in _leaves(call, name, features, keywords)]
    output = call.forward(features=features, **keywords)
    assert torch.equal(output.detach(), plain)
    found = torch.autograd.grad(output, [leaf for leaf in leaves if leaf.requires_grad], gradient)
    pairs = [(leaf, right) for leaf, right in zip(leaves, twin, strict=True) if leaf.requires_grad]
    for one, (_, right) in zip(found, pairs, strict=True):
        assert one.dtype == right.dtype
        assert torch.equal(one, right)


def _leaves(call: DrawnCall, name: str, features: Any, keywords: dict[str, Any]) -> list[Tensor]:
    """The tensors of an argument, which require a gradient from now on unless they hold integers."""
    leaves = call.parts(features if name == "features" else keywords[name])
    for leaf in leaves:
        leaf.requires_grad_(leaf.is_floating_point())
    return leaves


# Transforms


def check_transforms(call: DrawnCall, seed: int) -> None:
    """Forward mode is the transpose of reverse mode, and a batch is its members."""
    names = [name for name in call.moving if isinstance(call.keywords[name], np.ndarray)]
    keywords = {name: as_tensors(value) for name, value in call.keywords.items()}
    levels = [tensor_of(level).clone() for level in call.maps]  # forward mode takes no expanded tensors
    inputs = (*levels, *[keywords[name].double() for name in names])

    def function(*given: Tensor) -> Any:
        maps = list(given[: len(levels)])
        moved = dict(zip(names, given[len(levels) :], strict=True))
        return call.forward(features=maps if call.is_pyramid else maps[0], **{**keywords, **moved})

    generator = torch.Generator().manual_seed(seed)
    directions = tuple(torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in inputs)
    if call.options.get("structure") == "rows" and names:
        directions[len(levels)][:, 0] = 0  # images do not move
    _, slope = torch.func.jvp(function, inputs, directions)
    weights = torch.randn(slope.shape, generator=generator, dtype=torch.float64)
    products = [grad * way for grad, way in zip(torch.func.vjp(function, *inputs)[1](weights), directions, strict=True)]
    terms = sum(float(part.abs().sum()) for part in products) + float((slope * weights).abs().sum())
    along = sum(float(part.sum()) for part in products)
    assert abs(along - float((slope * weights).sum())) <= 1e-10 * terms
    second = [part.flip(0) if index < len(levels) else part for index, part in enumerate(inputs)]
    check_batch(call, function, inputs, second, (seed % 3 != 1, seed % 3 != 2))


def check_batch(call: DrawnCall, function: Any, first: Any, second: Any, batched: tuple[bool, bool]) -> None:
    """Of two members that differ in their features, in what moves, or in both."""
    dims = tuple(0 if batched[index >= len(call.maps)] else None for index in range(len(first)))
    if any(dim == 0 for dim in dims):

        def gradients(*given: Tensor) -> Any:
            output, pull = torch.func.vjp(function, *given)
            return output, *pull(torch.ones_like(output))

        members = [
            gradients(*[(first, second)[member if dim == 0 else 0][index] for index, dim in enumerate(dims)])
            for member in range(2)
        ]
        given = [torch.stack(pair) if dim == 0 else pair[0] for *pair, dim in zip(first, second, dims, strict=True)]
        found = torch.vmap(gradients, in_dims=dims)(*given)
        for place, parts in enumerate(zip(found, *members, strict=True)):
            largest = max(call.largest, float(parts[0].abs().max())) if parts[0].numel() else 0.0
            assert_close(parts[0].numpy(), torch.stack(parts[1:]).numpy(), "float64", 8 * largest, f"vmap, {place}")


def check_all(name: str, seed: int, step: int = 1) -> None:
    for index, combination in list(enumerate(covering(OPTIONS[name], seed)))[::step]:
        call = DrawnCall(name, combination, 1000 * seed + index)
        try:
            check_bits(call)
            if combination["dtype"] == "float64" and call.maps[0].size and combination["rois"]:
                check_transforms(call, index)
        except Exception as error:
            error.add_note(f"{name} with {combination}")
            raise


@every_operator
def test_half_of_the_pairs(name: str) -> None:
    check_all(name, 10, step=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 12))
@every_operator
def test_pairs(name: str, seed: int) -> None:
    check_all(name, seed)
