"""The compiled core's names for torch dtypes."""

from __future__ import annotations

import torch

from ... import _core

SCALAR_TYPES = {
    torch.float64: _core.ScalarType.float64,
    torch.float32: _core.ScalarType.float32,
    torch.float16: _core.ScalarType.float16,
    torch.bfloat16: _core.ScalarType.bfloat16,
}
