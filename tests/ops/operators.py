"""A map, boxes on it, and calls of operators with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import roialign

RNG = np.random.default_rng(5)
MAP = RNG.normal(size=(2, 5, 9, 11))
#: On both images, beyond the border, of zero size.
ROWS = np.array([[0, 4.0, 4.0, 9.5, 7.0], [1, -3.0, 2.0, 30.0, 6.0], [0, 5.0, 5.0, 5.0, 5.0], [1, 1.0, 0.0, 2.5, 8.0]])

OPERATORS: dict[str, Callable[..., Any]] = {
    "adaptive": lambda f, r, **more: roialign.roi_align(f, r, (2, 3), 0.7, **more),
    "grid": lambda f, r, **more: roialign.roi_align(f, r, 3, 0.7, 2, aligned=False, **more),
    "exact": lambda f, r, **more: roialign.roi_align(f, r, 3, sampling="exact", **more),
    "prroi": lambda f, r, **more: roialign.prroi_pool(f, r, (3, 1), 0.5, **more),
    "maximum": lambda f, r, **more: roialign.roi_align(f, r, 2, 0.7, 2, mode="max", **more),
    "exact maximum": lambda f, r, **more: roialign.roi_align(f, r, 2, 0.7, mode="max", sampling="exact", **more),
    "rounded": lambda f, r, **more: roialign.roi_pool(f, r, (2, 3), 0.7, **more),
    "positions": lambda f, r, **more: roialign.ps_roi_align(f, r, (5, 1), 0.7, 2, **more),
    "rounded positions": lambda f, r, **more: roialign.ps_roi_pool(f, r, (1, 5), 0.7, **more),
    "rotated": lambda f, r, **more: roialign.roi_align_rotated(f, r, (2, 3), 0.7, 2, **more),
    "rotated maximum": lambda f, r, **more: roialign.roi_align_rotated(f, r, 2, 0.7, mode="max", **more),
    "orientations": lambda f, r, **more: roialign.riroi_align_rotated(f, r, 2, 0.7, num_orientations=5, **more),
}
