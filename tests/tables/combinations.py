"""All options of the public operators of maps, and combinations in which every pair of their values occurs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import numpy as np

Options = dict[str, tuple[Any, ...]]
Combination = dict[str, Any]
Choice = tuple[str, Any]
Pair = frozenset[Choice]

#: Options of the arrays of a call, and arguments that every operator has. The first value is the plainest.
ARRAYS: Options = {
    "dtype": ("float64", "float32", "float16", "bfloat16"),
    "layout": ("NCHW", "NHWC"),
    "memory": ("nchw", "nhwc", "sliced", "negative", "rows expanded"),
    "gradient_memory": ("nchw", "nhwc", "sliced", "expanded"),
    "output_size": ((2, 3), (1, 1), (1, 4), (3, 1), 2),
    "map_size": ((5, 6), (8, 4), (1, 1), (1, 7), (6, 1)),
    "images": (2, 1),
    "blocks": (3, 1, 17, 0),
    "rois": (2, 1, 5, 0),
    "kinds": ("inside", "border", "inverted", "on pixels", "without area"),
    "rois_dtype": ("float64", "float32", "int32"),
    "rois_memory": ("packed", "sliced"),
    "invalid": (None, "zero", "zero with bad rows"),
    "out": (None, "packed", "strided"),
    "backend": ("cpu",),
}
ROIS: Options = {"structure": ("rows", "indices", "list"), "spatial_scale": (1.0, 1 / 14)}
POINTS: Options = {"sampling_ratio": (2, 0, 1, (1, 3), (0, 2))}
ALIGN: Options = {**POINTS, "aligned": (True, False), "mode": ("avg", "max")}
UPRIGHT: Options = {**ALIGN, "sampling": ("grid", "random", "exact")}
ROTATED: Options = {**ALIGN, "sampling": ("grid", "random"), "clockwise": (False, True)}
PYRAMID: Options = {"levels": ("by size", "given", "all last"), "maps": (2, 1, 3)}
MOVING: Options = {
    "sampling": ("grid", "random"),
    "offset": ("some", None, "far"),
    "mask": (None, "some", "negative", "zeros"),
    "gamma": (0.1, -0.5, 0.0),
    "per_bin_dtype": ("float64", "float32"),
}

OPTIONS: dict[str, Options] = {
    "roi_align": {**ARRAYS, **ROIS, **UPRIGHT},
    "multiscale_roi_align": {**ARRAYS, **ROIS, **UPRIGHT, **PYRAMID},
    "roi_align_rotated": {**ARRAYS, **ROIS, **ROTATED},
    "multiscale_roi_align_rotated": {**ARRAYS, **ROIS, **ROTATED, **PYRAMID},
    "riroi_align_rotated": {**ARRAYS, **ROIS, **POINTS, "num_orientations": (2, 1, 5), "clockwise": (False, True)},
    "prroi_pool": {**ARRAYS, **ROIS},
    "ps_roi_align": {**ARRAYS, **ROIS, **POINTS},
    "ps_roi_pool": {**ARRAYS, **ROIS},
    "roi_pool": {**ARRAYS, **ROIS},
    "deform_roi_pool": {**ARRAYS, **ROIS, **POINTS, **MOVING},
    "crop_and_resize": {**ARRAYS, "method": ("bilinear", "nearest"), "extrapolation_value": (0.0, -1.5)},
}

#: Values under which a fault of another option may not show. A combination with one of them counts for the pairs with
#: that value only, and it has no second one.
MUTE: set[Choice] = {
    ("rois", 0),
    ("blocks", 0),
    ("map_size", (1, 1)),
    ("map_size", (1, 7)),
    ("map_size", (6, 1)),
    ("memory", "rows expanded"),
    ("mask", "zeros"),
    ("gamma", 0.0),
}


def covering(options: Options, seed: int) -> list[Combination]:
    """Combinations in which every pair of values occurs, but for pairs of two mute ones."""
    rng = np.random.default_rng(seed)
    missing = dict.fromkeys(pairs_of(options))
    order = list(missing)
    rng.shuffle(order)  # type: ignore[arg-type]
    found = []
    for pair in order:
        if pair in missing:
            row = dict(pair)
            for name in rng.permutation([name for name in options if name not in row]).tolist():
                row[name] = _best(name, options, row, missing, rng)
            for covered in _pairs_in(row):
                missing.pop(covered, None)
            found.append({name: row[name] for name in options})
    return found


def pairs_of(options: Options) -> Iterator[Pair]:
    """All pairs of values, but for those of two mute ones."""
    for (name, values), (other, others) in combinations(options.items(), 2):
        for pair in product(((name, value) for value in values), ((other, value) for value in others)):
            if not MUTE.issuperset(pair):
                yield frozenset(pair)


def _best(name: str, options: Options, row: Combination, missing: dict[Pair, None], rng: np.random.Generator) -> Any:
    """The value that adds most missing pairs, or one of them."""
    values = [value for value in options[name] if (name, value) not in MUTE]
    mute = [choice for choice in row.items() if choice in MUTE]
    others = mute or list(row.items())
    counts = [sum(frozenset(((name, value), other)) in missing for other in others) for value in values]
    return values[int(rng.choice(np.flatnonzero(np.array(counts) == max(counts))))]


def _pairs_in(row: Combination) -> Iterator[Pair]:
    """The pairs that a combination counts for."""
    mute = MUTE.intersection(row.items())
    for pair in map(frozenset, combinations(row.items(), 2)):
        if mute <= pair:
            yield pair
