"""A loop over RoIs that torch exports to ONNX: one `Scan`, for both families.

It is not a `Loop`, because the `Loop` that torch exports cannot collect results from its iterations. It would have to
carry the results of all RoIs, and a runtime would copy them for every RoI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._guards import detect_fake_mode
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.utils import _maybe_compile_and_run_fn
from torch.nn import functional

from .standard import check_may_scan


def one_more(table: Tensor) -> Tensor:
    """Append a row of zeros, because runtimes reject an empty Scan."""
    return functional.pad(table, (*(0, 0) * (table.dim() - 1), 0, 1))


def scan_rois(each: Callable[..., Tensor], *tables: Tensor) -> Tensor:
    """Apply `each` to every row of the tables except the last one, which was added by :func:`one_more`."""

    check_may_scan()

    def step(carried: Tensor, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return carried.clone(), each(*rows)

    def run(carried: Tensor, *rows: Tensor) -> Any:
        for table in rows:  # if the number of rows depends on values, torch does not know of the extra row
            torch._check(table.shape[0] >= 1)  # type: ignore[no-untyped-call]
        return scan(step, carried, rows)

    # The operator needs a carried value, which is not used here.
    nothing = tables[0].new_zeros(1)
    # torch caches compilations by code object. An earlier one with a fixed number of RoIs would also fix this one.
    run.__code__ = run.__code__.replace()
    # The columns of a table are indexed by number, so their count must not be symbolic.
    static = torch._dynamo.config.patch(assume_static_by_default=True, automatic_dynamic_shapes=False)
    with static, _sizes_within_the_loop(tables):
        _, results = _maybe_compile_and_run_fn(run, nothing, *tables)  # type: ignore[no-untyped-call]
    pooled: Tensor = results[:-1]
    return pooled


def _sizes_within_the_loop(tables: Sequence[Tensor]) -> AbstractContextManager[None]:
    """Let sizes that depend on a row's values stay inside the loop. torch 2.14 expects to see them in its results."""
    fake_mode = detect_fake_mode(tables)
    if fake_mode is None or fake_mode.shape_env is None:
        return nullcontext()
    ignored: AbstractContextManager[None] = fake_mode.shape_env.ignore_fresh_unbacked_symbols()
    return ignored
