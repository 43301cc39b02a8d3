"""The input of every worker, and the prepared case."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class UnsupportedError(Exception):
    """This machine does not support the case with this implementation."""


@dataclass
class Work:
    """One case, ready to run.

    Parameters
    ----------
    run : one call, which is timed
    answer : returns its results: ``[K, C, PH, PW]``, or ``[N, C, H, W]`` per level, or ``[K, 4]``
    select : prepares a series of calls, for example by setting the number of threads
    produce, consume : run before and after every call, untimed
    own_seconds : the seconds per call over the last calls, from the implementation's own profile
    """

    run: Callable[[], Any]
    answer: Callable[[], list[Array]]
    select: Callable[[], None] | None = None
    produce: Callable[[], Any] | None = None
    consume: Callable[[Any], Any] | None = None
    own_seconds: Callable[[int], float] | None = None
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """The RoIs of one level, in the form for implementations without levels."""

    level: int
    scale: float
    rows: Array  # [L] int64, indices into all RoIs
    rois: Array  # [L, 5] float32


class Inputs:
    """A case and its arrays, read from files."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.map_paths: list[str] = request["maps"]
        self.scales: list[float] = request["scales"]
        self.rois: Array = np.load(request["rois"])
        self.level_of_roi: Array = np.load(request["level_of_roi"])
        self.grad_path: str | None = request["grad_output"]
        self.output_size: tuple[int, int] = tuple(request["output_size"])
        self.surrounded: bool = request["surrounded"]
        case = request["case"]
        self.layout, self.dtype, self.sampling = case["layout"], case["dtype"], case["sampling"]
        self.direction, self.threads, self.output = case["direction"], case["threads"], request["output"]
        self.operator: str = case.get("operator", "mean")

    @property
    def sampling_ratio(self) -> int:
        return 2 if self.sampling == "S2" else 0

    def maps(self, layout: str, dtype: str) -> list[Array]:
        return [load_array(path, layout, dtype) for path in self.map_paths]

    def grad_output(self, layout: str, dtype: str) -> Array:
        if self.grad_path is None:
            raise ValueError("grad_output: expected a file for a backward case")
        return load_array(self.grad_path, layout, dtype)

    def parts(self) -> Iterator[Part]:
        """Return the levels that have RoIs."""
        for level, scale in enumerate(self.scales):
            rows = np.flatnonzero(self.level_of_roi == level)
            if len(rows):
                yield Part(level, scale, rows, np.ascontiguousarray(self.rois[rows]))

    def in_order(self, parts: list[tuple[Part, Array]]) -> Array:
        """Combine the results of the levels into one array, in the order of the RoIs."""
        first = parts[0][1]
        answer = np.full((len(self.rois), *first.shape[1:]), np.nan, dtype=first.dtype)
        for part, pooled in parts:
            answer[part.rows] = pooled
        return answer


def turned_boxes(rois: Array) -> Array:
    """Return rotated boxes ``[K, 6]`` float32 with the same centres and sides, and angles over the full circle."""
    image, x1, y1, x2, y2 = rois.T
    angles = np.linspace(-3.0, 3.0, len(rois), dtype=np.float32)
    return np.column_stack([image, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angles])


def bin_offsets(rois: int, output_size: tuple[int, int]) -> Array:
    """Return the offsets ``[K, 2, PH, PW]`` of deformable RoI pooling: normally distributed, from a seed."""
    return np.random.default_rng(0).standard_normal((rois, 2, *output_size), dtype=np.float32)


@lru_cache(maxsize=64)
def load_array(path: str, layout: str, dtype: str) -> Array:
    """Read ``[N, C, H, W]`` float32 from a file into contiguous memory in this layout and type."""
    array = np.load(path)
    if layout == "NHWC":
        array = array.transpose(0, 2, 3, 1)
    copy = aligned_empty(array.shape, dtype)
    copy[...] = array
    return copy


def aligned_empty(shape: tuple[int, ...], dtype: str) -> Array:
    """Allocate memory at a cache line, as torch, ONNX Runtime and OpenVINO do. NumPy does not."""
    kind = dtype_of(dtype)
    size = math.prod(shape) * kind.itemsize
    memory = np.empty(size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    array: Array = memory[start : start + size].view(kind).reshape(shape)
    return array


def dtype_of(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes  # imported here because not every environment has it

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def nchw(array: Array, layout: str) -> Array:
    """A view of an array in a layout, with its axes as NCHW."""
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)
