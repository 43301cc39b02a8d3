"""RoI by RoI in operators that torch exports to ONNX: one `Scan` for either family.

Not a `Loop`: the one that torch exports collects nothing from its rounds. It would carry the answers of all RoIs along,
and a runtime would copy them for every RoI.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.utils import _maybe_compile_and_run_fn
from torch.nn import functional

from .standard import check_may_scan


def one_more(table: Tensor) -> Tensor:
    """With a row of zeros at the end: runtimes refuse a Scan over nothing."""
    return functional.pad(table, (*(0, 0) * (table.dim() - 1), 0, 1))


def scan_rois(each: Callable[..., Tensor], *tables: Tensor) -> Tensor:
    """What `each` answers for every row of the tables but the last, which is :func:`one_more`."""

    check_may_scan()

    def step(carried: Tensor, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return carried.clone(), each(*rows)

    def run(carried: Tensor, *rows: Tensor) -> Any:
        for table in rows:  # where their number depends on values, as behind a nonzero, torch does not see the one more
            torch._check(table.shape[0] >= 1)  # type: ignore[no-untyped-call]
        return scan(step, carried, rows)

    # The operator wants something carried from one RoI to the next; nothing is.
    nothing = tables[0].new_zeros(1)
    # Kept by code object is what was compiled before: of a fixed number of RoIs, it would fix this one too.
    run.__code__ = run.__code__.replace()
    # A table's columns are told apart by number, so how many there are may not become a symbol.
    with torch._dynamo.config.patch(assume_static_by_default=True, automatic_dynamic_shapes=False):
        _, answers = _maybe_compile_and_run_fn(run, nothing, *tables)  # type: ignore[no-untyped-call]
    pooled: Tensor = answers[:-1]
    return pooled
