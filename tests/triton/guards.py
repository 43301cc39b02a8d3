"""Memory between guards: who writes beside a tensor is found out, and who reads beside one, or what is not written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

#: Pairs of bytes of every guard, which ends at the byte where the tensor begins, or begins where it ends.
GUARD = 2048
#: Of a pair of bytes: NaN in every float type, though not the usual one, and a negative integer that nobody writes.
POISON = -2


class Guards:
    """The blocks of memory that tensors were given between guards."""

    def __init__(self) -> None:
        self.blocks: list[tuple[Tensor, int]] = []

    def empty(
        self,
        *shape: Any,
        dtype: torch.dtype | None = None,
        device: Any = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Tensor:
        """In the stead of torch.empty; full of poison."""
        size = torch.Size(shape if all(isinstance(side, int) for side in shape) else shape[0])
        kind = dtype or torch.get_default_dtype()
        count = size.numel() * kind.itemsize // 2
        block = torch.full((GUARD + count + GUARD,), POISON, dtype=torch.int16, device=device)
        self.blocks.append((block, count))
        inner = block[GUARD : GUARD + count].view(kind)
        if memory_format == torch.channels_last:
            n, c, h, w = size
            return inner.view(n, h, w, c).permute(0, 3, 1, 2)
        return inner.view(size)

    def zeros(self, *shape: Any, **more: Any) -> Tensor:
        """In the stead of torch.zeros."""
        return self.empty(*shape, **more).zero_()

    def empty_strided(self, like: Tensor, shape: Any, strides: Any) -> Tensor:
        """In the stead of Tensor.new_empty_strided, for memory without gaps."""
        return self.empty(math.prod(shape), dtype=like.dtype, device=like.device).as_strided(shape, strides)

    def copy(self, tensor: Tensor, channels_last: bool = False) -> Tensor:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        fresh = self.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device, memory_format=layout)
        return fresh.copy_(tensor)

    @contextmanager
    def around_what_is_allocated(self) -> Iterator[None]:
        guards = self

        def new_empty_strided(like: Tensor, shape: Any, strides: Any) -> Tensor:
            return guards.empty_strided(like, shape, strides)

        with (
            patch.object(torch, "empty", self.empty),
            patch.object(torch, "zeros", self.zeros),
            patch.object(Tensor, "new_empty_strided", new_empty_strided),
        ):
            yield

    def hold(self, tensor: Tensor) -> bool:
        """Whether it lies in one of the blocks, or has no elements."""
        address = tensor.data_ptr()
        held = any(block.data_ptr() < address < block.data_ptr() + block.nbytes for block, _ in self.blocks)
        return held or not tensor.numel()

    def check(self) -> None:
        for block, count in self.blocks:
            for guard in (block[:GUARD], block[GUARD + count :]):
                assert bool((guard == POISON).all()), f"written beside a tensor of {2 * count} bytes"
