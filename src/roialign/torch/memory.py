"""The memory of tensors that the core reads and writes, and allocation of large results."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .._memory import POOLED_BYTES
from .._memory import empty as pooled
from .wiring.tracing import is_traced

#: An address, a shape and strides in bytes, which the core takes in place of an array.
Memory = tuple[int, tuple[int, ...], tuple[int, ...]]


def memory_of(tensor: Tensor) -> Memory:
    """Return the memory of a tensor without a copy."""
    item = tensor.element_size()
    try:
        address = tensor.data_ptr()
    except RuntimeError:
        raise NotImplementedError(
            "roialign: expected a tensor with memory, got one that autograd batches (is_grads_batched or vectorize); "
            "use torch.func.vmap, jacrev or jacfwd instead, which are supported"
        ) from None
    if address == 0 and tensor.numel() > 0:
        raise ValueError(f"roialign: expected a tensor with memory, got a freed one of shape {tuple(tensor.shape)}")
    return address, tuple(tensor.shape), tuple([stride * item for stride in tensor.stride()])


def is_channels_last(features: Tensor) -> bool:
    """Whether there are several channels, and those of a pixel are adjacent in memory."""
    return features.shape[1] > 1 and features.stride(1) == 1 and features.shape[2] * features.shape[3] > 1


def empty(shape: Sequence[int], channels_last: bool, like: Tensor) -> Tensor:
    """Return an uninitialised ``[N, C, H, W]`` tensor with the dtype and device of another."""
    if not is_traced(like) and 0 not in shape:
        return (empty_on_cpu if like.is_cpu else empty_in_eager_mode)(shape, channels_last, like)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def empty_on_cpu(shape: Sequence[int], channels_last: bool, like: Tensor) -> Tensor:
    """The same in eager mode on the CPU, for a shape without a 0."""
    strides = _strides(shape, channels_last)
    size = math.prod(shape) * like.element_size()
    if size < POOLED_BYTES:
        return like.new_empty_strided(shape, strides)
    block = torch.from_numpy(pooled((size,), np.dtype(np.uint8)))
    return block.view(like.dtype).as_strided(shape, strides)


def empty_in_eager_mode(shape: Sequence[int], channels_last: bool, like: Tensor) -> Tensor:
    """The same on any device, which is faster than torch.empty."""
    return like.new_empty_strided(shape, _strides(shape, channels_last))


def _strides(shape: Sequence[int], channels_last: bool) -> tuple[int, ...]:
    _, c, h, w = shape
    return (c * h * w, 1, w * c, c) if channels_last else (c * h * w, h * w, w, 1)
