"""The types that the package's signatures share."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.float64]
#: The array of one framework, in a signature where all arrays are of the same: numpy.ndarray or torch.Tensor.
AnyArray = TypeVar("AnyArray")
