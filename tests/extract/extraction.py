"""Feature maps as the tests of `roialign.extract` make them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from roialign.files.boxes import Box
from tests.files.boxes import box


def maps_on_disk(folder: Path, dtype: type = np.float32) -> tuple[dict[Path, list[Box]], dict[Path, np.ndarray]]:
    """Two feature maps, and boxes that take turns between them."""
    generator = np.random.default_rng(3)
    maps: dict[Path, np.ndarray] = {
        folder / name: generator.normal(size=(4, 9, 12)).astype(dtype) for name in ("a.npy", "b.npy")
    }
    groups: dict[Path, list[Box]] = {path: [] for path in maps}
    for row, path in zip(range(7), itertools.cycle(maps), strict=False):
        x, y = generator.uniform(0, 8, size=2)
        groups[path].append(box(row, (x, y, x + 3.7, y + 4.1), path.name, f"label {row}"))
    for path, features in maps.items():
        np.save(path, features)
    return groups, maps
