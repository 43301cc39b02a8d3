"""Measure how well features follow a moving image, and how far sampled means are from exact means.

Run ``python -m benchmarks.equivariance``.

There is no training. Each pixel of the feature map of stride s is the mean of s x s pixels of a photograph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image

import roialign
from roialign.files.writing import atomic_write

from .process import ROOT
from .terminal import make_console, make_progress

Array = npt.NDArray[np.float64]
#: Computes features of boxes from the map ``[1, C, H, W]``, boxes ``[K, 4]``, bins and stride.
Operator = Callable[[Array, Array, int, int], Array]

STRIDES = (4, 8, 16, 32)
OUTPUT_SIZES = (7, 14)
#: Number of boxes per photograph, and their sizes in its pixels. The root of the area is log-uniform, the aspect ratio
#: is between 1/2 and 2.
BOXES, SIDES = 200, (48.0, 240.0)
#: Largest number of steps in which a box slides by one map pixel. Every step is a whole number of photograph pixels.
MOST_STEPS = 8
RESULTS = ROOT / "benchmarks" / "results" / "equivariance.json"


def _align(**arguments: Any) -> Operator:
    def pool(features: Array, boxes: Array, bins: int, stride: int) -> Array:
        indices = np.zeros(len(boxes), dtype=np.int64)
        return roialign.roi_align(features, boxes, bins, 1 / stride, batch_indices=indices, **arguments)

    return pool


def _pool(features: Array, boxes: Array, bins: int, stride: int) -> Array:
    return roialign.roi_pool(features, boxes, bins, 1 / stride, batch_indices=np.zeros(len(boxes), dtype=np.int64))


EXACT = _align(sampling="exact")
EXACT_MAXIMUM = _align(sampling="exact", mode="max")
#: Every operator with its exact counterpart: the exact mean for means, the exact maximum for maxima.
SLIDING: dict[str, tuple[Operator, Operator]] = {
    "RoIPool": (_pool, EXACT_MAXIMUM),
    "RoIAlign, unaligned": (_align(sampling_ratio=2, aligned=False), EXACT),
    "RoIAlign, 2 x 2": (_align(sampling_ratio=2), EXACT),
    "RoIAlign, adaptive": (_align(sampling_ratio=0), EXACT),
    "exact": (EXACT, EXACT),
    "exact maximum": (EXACT_MAXIMUM, EXACT_MAXIMUM),
}
SAMPLES: dict[str, Operator] = {
    "1 point": _align(sampling_ratio=1),
    "2 x 2": _align(sampling_ratio=2),
    "4 x 4": _align(sampling_ratio=4),
    "adaptive": _align(sampling_ratio=0),
    "random, 1 point": _align(sampling_ratio=1, sampling="random", seed=0),
    "random, 2 x 2": _align(sampling_ratio=2, sampling="random", seed=0),
    "random, 4 x 4": _align(sampling_ratio=4, sampling="random", seed=0),
}


def photographs() -> dict[str, Array]:
    """Return photographs ``[3, H, W]`` with values from 0 to 1, by name: two from scikit-learn and the astronaut."""
    from sklearn.datasets import load_sample_image

    images = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    with Image.open(ROOT / "examples" / "astronaut.png") as file:
        images["astronaut"] = np.asarray(file.convert("RGB"))
    return {name: np.moveaxis(image, 2, 0) / 255.0 for name, image in images.items()}


def map_of(photograph: Array, stride: int, shift: int = 0) -> Array:
    """Return a map ``[1, C, H, W]`` of means over `stride` x `stride` pixels of a photograph moved left and up by
    `shift`.

    The maps of all shifts have the same size, because the last `stride` pixels of the photograph are reserved for the
    shift.
    """
    channels, height, width = photograph.shape
    rows, columns = height // stride - 1, width // stride - 1
    window = photograph[:, shift : shift + rows * stride, shift : shift + columns * stride]
    return window.reshape(channels, rows, stride, columns, stride).mean(axis=(2, 4))[None]


def draw_boxes(photograph: Array, stride: int, seed: int = 0) -> Array:
    """Return corners ``[K, 4]`` of boxes that stay at least three map pixels from the edge at every step."""
    rng = np.random.default_rng([seed, stride])
    height, width = (side - stride for side in photograph.shape[1:])
    side = np.exp(rng.uniform(*np.log(SIDES), BOXES))
    root = np.sqrt(np.exp2(rng.uniform(-1, 1, BOXES)))
    margin = min(3.0 * stride, 0.2 * min(height, width))
    free = np.array([width, height]) - 2 * margin - stride
    size = np.minimum(np.column_stack([side * root, side / root]), 0.9 * free)
    start = margin + rng.random((BOXES, 2)) * (free - size)
    return np.hstack([start, start + size])


def error_of(found: Array, expected: Array, spread: float) -> float:
    """Return the root mean square of the difference, in standard deviations of the features."""
    return float(np.sqrt(np.mean((found - expected) ** 2)) / spread)


def sliding_errors(photograph: Array, stride: int, bins: int, seed: int = 0) -> dict[str, list[float]]:
    """Return the error of every operator at every step, for boxes that slide over the map.

    Concretely, the error at step d is the difference between ``operator(map, boxes + d)`` and the exact result for the
    original boxes on the map of the photograph moved by d in the opposite direction. If features depended only on the
    contents of the box, both would be equal.
    """
    boxes = draw_boxes(photograph, stride, seed)
    still = map_of(photograph, stride)
    errors: dict[str, list[float]] = {name: [] for name in SLIDING}
    for shift in shifts(stride):
        moved = map_of(photograph, stride, shift)
        for name, (operator, exact) in SLIDING.items():
            expected = exact(moved, boxes, bins, stride)
            errors[name].append(error_of(operator(still, boxes + shift, bins, stride), expected, float(still.std())))
    return errors


def shifts(stride: int) -> list[int]:
    """Return the photograph pixels by which a box slides, from 0 to one whole map pixel."""
    step = max(stride // MOST_STEPS, 1)
    return list(range(0, stride + 1, step))


def sampling_errors(photograph: Array, stride: int, bins: int, seed: int = 0) -> dict[str, float]:
    """Return the distance of the sampled mean from the exact mean, for every number of points."""
    boxes = draw_boxes(photograph, stride, seed)
    features = map_of(photograph, stride)
    exact = EXACT(features, boxes, bins, stride)
    return {
        name: error_of(operator(features, boxes, bins, stride), exact, float(features.std()))
        for name, operator in SAMPLES.items()
    }


def measure(progress: Callable[[], None]) -> list[dict[str, Any]]:
    """Measure all strides and output sizes. Errors are root mean squares over the photographs."""
    results = []
    for stride, bins in cases():
        sliding = [sliding_errors(image, stride, bins) for image in photographs().values()]
        sampling = [sampling_errors(image, stride, bins) for image in photographs().values()]
        results.append(
            {
                "stride": stride,
                "output_size": bins,
                "steps": [shift / stride for shift in shifts(stride)],
                "sliding": {name: _together([each[name] for each in sliding]).tolist() for name in SLIDING},
                "sampling": {name: float(_together([each[name] for each in sampling])) for name in SAMPLES},
            }
        )
        progress()
    return results


def compact(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Round the figures to five decimals."""
    return [
        {
            **result,
            "sliding": {name: [round(error, 5) for error in errors] for name, errors in result["sliding"].items()},
            "sampling": {name: round(error, 5) for name, error in result["sampling"].items()},
        }
        for result in results
    ]


def cases() -> Iterator[tuple[int, int]]:
    """Return all pairs of stride and output size."""
    for bins in OUTPUT_SIZES:
        for stride in STRIDES:
            yield stride, bins


def _together(errors: list[Any]) -> Array:
    return np.asarray(np.sqrt(np.mean(np.square(errors), axis=0)))


application = typer.Typer(add_completion=False)


@application.command()
def main(json_path: Annotated[Path, typer.Option("--json", help="File for the results.")] = RESULTS) -> None:
    """Slide boxes over photographs, and compare sampled means with exact means."""
    console = make_console()
    with make_progress(console) as bar:
        task = bar.add_task("sliding boxes", total=len(list(cases())))
        results = measure(lambda: bar.advance(task))
    json_path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(json_path) as file:
        file.write(json.dumps(results, indent=1).encode())
    for result in results:
        worst = {name: max(errors) for name, errors in result["sliding"].items()}
        shown = ", ".join(f"{name} {error:.3f}" for name, error in worst.items())
        console.print(f"stride {result['stride']}, {result['output_size']} bins: {shown}")
    console.print(f"written: {json_path.name}")


if __name__ == "__main__":
    application()
