"""The RoIs of a call in the form that kernels take. Only a requested check synchronises with the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..._derivatives import Inputs
from ..._levels import check_level_range, level_numbers
from ..._rows import check_rows
from ...triton import launch as table
from ...triton.numbers import bits_of, plain, plain_bits_of

WORD = 0xFFFFFFFF
#: The bytes that the tables of a part may take before there are more than `MOST_PARTS` parts. A part of a gradient of
#: features may take as many, or this fraction of the memory of the maps and the gradient: it reads and writes the maps.
MOST_TABLES, EXTRA_OF_SUMS = 1 << 28, 0.25


class Rows(NamedTuple):
    """The arguments of every kernel that reads RoIs."""

    rois: Tensor
    """The rows, ``[K, columns]``, contiguous."""
    levels: Tensor
    """The levels, ``[K]``. The RoIs themselves if there are none."""
    images: int
    scales: tuple[int, ...]
    """Of every level, encoded by `roialign.triton.numbers.plain_bits_of`."""
    canonical: tuple[int, int]
    strides_log2: tuple[int, ...]
    """Of every level, encoded by `roialign.triton.numbers.plain`."""
    seed: tuple[int, int]
    """The seed as two signed 32-bit words, the lower one first."""
    constants: dict[str, Any]
    first: int = 0
    """The index of the first row among all rows of the call."""

    def part(self, rows: slice) -> Rows:
        """Select some of the rows."""
        return self._replace(rois=self.rois[rows], levels=self.levels[rows], first=rows.start)

    def on(self, maps: Sequence[Tensor]) -> tuple[Any, ...]:
        """The arguments that place a row on these maps."""
        return *table.map_sizes(maps), self.scales, self.canonical, self.strides_log2, self.images


def rows_of(call: Any, inputs: Any, images: int, numbers: int = 4) -> Rows:
    """The RoIs of a call. Kernels return zeros for invalid rows. If they are an error, they are checked here, which
    synchronises with the device."""
    rois: Tensor = inputs.rois.detach().contiguous()
    levels = None if inputs.levels is None else inputs.levels.detach().contiguous()
    scales = call.scales
    if call.invalid == "raise" or (call.invalid is None and not rois.is_cuda):
        host: Any = rois[:, : numbers + 1].cpu()
        host = (host.double() if host.dtype == torch.bfloat16 else host).numpy()
        check_rows(host.astype(np.float64), images, "raise", call.argument)
        if levels is not None:
            check_level_range(levels.cpu().numpy(), len(scales))
    size, level = call.assignment or (1.0, 0.0)
    return Rows(
        rois,
        rois if levels is None else levels,
        images,
        tuple([plain_bits_of(scale) for scale in scales]),
        (bits_of(size), bits_of(level)),
        plain(level_numbers(scales)),
        seed_words(call, inputs),
        {
            "COLUMNS": rois.shape[1],
            "HAS_LEVELS": levels is not None,
            "LEVELS": len(scales) if levels is not None or call.assignment is not None else 1,
        },
    )


def parts_of(count: int, bytes_per_row: int, tensors: Iterable[Tensor]) -> Iterator[slice]:
    """Divide the rows into parts whose tables take at most `EXTRA` of the memory of these tensors or `LEAST_TABLES`
    bytes, if `MOST_PARTS` parts suffice for that. There are more parts only if tables would exceed `MOST_TABLES`."""
    most = max(int(table.EXTRA * sum(tensor.nbytes for tensor in tensors)), table.LEAST_TABLES)
    few = min(table.blocks_of(count, rows_within(most, bytes_per_row)), table.MOST_PARTS)
    yield from divided(count, max(few, table.blocks_of(count, rows_within(max(most, MOST_TABLES), bytes_per_row))))


def parts_of_sums(count: int, bytes_per_row: int, tensors: Iterable[Tensor], more: int = 0) -> list[slice]:
    """The same for a gradient of features, to which every part is added: one part, unless its tables and bits are too
    large. There is one also if there are no rows, because it writes zeros. Adding parts takes `more` bytes, so that
    division does not pay if the tables exceed the limit by less."""
    most = max(int(EXTRA_OF_SUMS * sum(tensor.nbytes for tensor in tensors)), MOST_TABLES)
    if count * bytes_per_row <= most + more:
        return [slice(0, count)]
    return list(divided(count, table.blocks_of(count, rows_within(most, bytes_per_row))))


def rows_within(most: int, bytes_per_row: int) -> int:
    """The number of rows of a part whose tables take at most so many bytes: a multiple of `FEWEST_ROWS`, not 0."""
    return max(most // max(bytes_per_row, 1) // table.FEWEST_ROWS, 1) * table.FEWEST_ROWS


def divided(count: int, parts: int) -> Iterator[slice]:
    """Divide rows into at most so many parts. The first is the longest, so that the others fit into its memory."""
    rows = table.blocks_of(count, max(parts, 1) * table.FEWEST_ROWS) * table.FEWEST_ROWS
    for first in range(0, count, max(rows, 1)):
        yield slice(first, min(first + rows, count))


def of_rows(inputs: Inputs, rows: slice) -> Inputs:
    """The inputs of some of the RoIs."""
    return inputs._replace(
        grad_output=None if inputs.grad_output is None else inputs.grad_output[rows],
        tangents=tuple(tangent[rows] for tangent in inputs.tangents),
        winners=None if inputs.winners is None else inputs.winners[rows],
    )


def seed_words(call: Any, inputs: Any) -> tuple[int, int]:
    """The seed as two signed 32-bit words, the lower one first."""
    seed = call.spec.seed if inputs.drawn_seed is None else int(inputs.drawn_seed)
    return signed_32(seed & WORD), signed_32((seed >> 32) & WORD)


def signed_32(word: int) -> int:
    return int(np.uint32(word).astype(np.int32))
