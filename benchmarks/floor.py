"""The memory floor: the time in which a plain copy moves the bytes that a case must read and write."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import roialign

from .cases import Case
from .workers.work import dtype_of
from .workloads import Array, Data, Workload


class CopyProbe:
    """Measure the rate of copying a large array. Bytes read and bytes written both count."""

    def __init__(self, megabytes: int = 256) -> None:
        self.source = np.ones(megabytes << 17)
        self.target = np.zeros_like(self.source)

    def bandwidth(self, threads: int) -> float:
        """Return bytes per second if this many threads share the copy."""
        pieces = list(zip(np.array_split(self.target, threads), np.array_split(self.source, threads), strict=True))
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda piece: piece[0][:1], pieces))  # start the threads before the clock
            start = time.perf_counter()
            list(pool.map(lambda piece: np.copyto(*piece), pieces))
            seconds = time.perf_counter() - start
        return 2 * self.source.nbytes / seconds


class Footprint:
    """The pixels that the RoIs of a workload read, for each kind of sampling."""

    def __init__(self, workload: Workload, data: Data) -> None:
        self.workload, self.data = workload, data
        self.pixels: dict[str, int] = {}

    def compulsory_bytes(self, case: Case) -> int:
        """Return the bytes to read every needed map pixel once and write the output once, or the equivalent for
        backward.

        A gradient to the features is written completely. A gradient to the boxes is small.
        """
        size: int = dtype_of(case.dtype).itemsize
        output = self.workload.output_elements * size
        if case.direction == "backward-features":
            pixels = sum(level.height * level.width for level in self.workload.levels)
            return output + pixels * self.workload.images * self.workload.channels * size
        rois = self.workload.rois * 4 * 8 if case.direction == "backward-boxes" else 0
        return output + rois + self.touched(case.sampling) * self.workload.channels * size

    def touched(self, sampling: str) -> int:
        """Count the pixels of all levels and images that at least one RoI reads."""
        if sampling not in self.pixels:
            self.pixels[sampling] = sum(
                int(self._mask(index, sampling).sum()) for index in range(len(self.workload.levels))
            )
        return self.pixels[sampling]

    def _mask(self, index: int, sampling: str) -> Array:
        level = self.workload.levels[index]
        mask = np.zeros((self.workload.images, level.height, level.width), dtype=bool)
        for image, x1, y1, x2, y2 in self.data.rois[self.data.level_of_roi == index].tolist():
            rows = _touched(level.height, y1, y2, level.scale, self.workload.output_size[0], sampling)
            columns = _touched(level.width, x1, x2, level.scale, self.workload.output_size[1], sampling)
            mask[int(image), rows[:, None], columns] = True
        return mask


def _touched(size: int, low: float, high: float, scale: float, bins: int, sampling: str) -> Array:
    """Return the pixels along one axis that have a non-zero weight in any bin."""
    rule = "exact" if sampling == "exact" else "grid"
    ratio = 2 if sampling == "S2" else 0
    matrix = roialign.taps(size, low * scale - 0.5, (high - low) * scale, bins, ratio, rule)  # type: ignore[arg-type]
    return np.flatnonzero(matrix.any(axis=0))
