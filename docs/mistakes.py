"""Write docs/mistakes.md: classic mistakes in implementations of RoIAlign, with the wrong and the right results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import roialign
from roialign.reference.bilinear import bilinear

Array = np.ndarray[Any, np.dtype[Any]]

#: A map whose values show where it is read: the value at (row, column) is 10 * row + column.
RAMP = 10.0 * np.arange(10.0)[:, None] + np.arange(10.0)[None, :]
BOX = (2.0, 2.0, 8.0, 8.0)
#: Reads a map at (y, x). The right way interpolates, and gives 0 for samples outside the map.
Read = Callable[[Array, float, float], float]


def read_right(feature: Array, y: float, x: float) -> float:
    taps = [bilinear(place, size, "replicate") for place, size in zip((y, x), feature.shape, strict=True)]
    return float(sum(wy * wx * feature[row, column] for row, wy in taps[0] for column, wx in taps[1]))


def pool(
    feature: Array, box: Sequence[float], bins: int, samples: int, read: Read = read_right, reduce: Any = np.mean
) -> Array:
    """Pool one box (x1, y1, x2, y2) in feature coordinates, directly from the formula."""
    x1, y1, x2, y2 = box
    out = np.zeros((bins, bins))
    for i, j in np.ndindex(bins, bins):
        steps = (np.arange(samples) + 0.5) / samples
        ys, xs = y1 + (y2 - y1) / bins * (i + steps), x1 + (x2 - x1) / bins * (j + steps)
        out[i, j] = reduce([read(feature, y, x) for y in ys.tolist() for x in xs.tolist()])
    return out


def shown(values: Array | float) -> str:
    array = np.asarray(values, dtype=np.float64)
    rows = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    text = "; ".join(
        ", ".join("NaN" if math.isnan(value) else f"{value:.6g}" for value in row) for row in rows.tolist()
    )
    return f"`{text}`"


def right_of(feature: Array, box: Sequence[float], bins: int, samples: int, **more: Any) -> Array:
    """Return this library's result for a box in feature coordinates."""
    rows = np.array([[0, *box]], dtype=np.float64)
    return roialign.roi_align(feature[None, None], rows, bins, 1.0, samples, aligned=False, **more)[0, 0]


#: In image pixels; the stride is 14.
STRIDE_BOX = (28.0, 28.0, 112.0, 112.0)


def mistakes() -> list[tuple[str, str, Array | float, Array | float]]:
    """Return the title, the explanation, the wrong result and the right result of every mistake."""
    right = right_of(RAMP, BOX, 2, 2)
    uneven = (2.4, 2.7, 8.1, 8.3)
    images = np.arange(3.0)[:, None, None, None] * np.ones((1, 1, 4, 4))
    last = np.array([[2, 0.5, 0.5, 2.5, 2.5]])
    ones, outside = np.ones((10, 10)), (7.0, 2.0, 15.0, 8.0)
    far = np.array([[0, 3000.3, 1.0, 3004.3, 5.0]])
    wide = np.broadcast_to(np.arange(3010.0), (1, 1, 8, 3010))
    small, deep = (3.2, 3.2, 3.2, 3.2), -np.ones((10, 10))

    def read_clamped(feature: Array, y: float, x: float) -> float:
        height, width = feature.shape
        return read_right(feature, min(max(y, 0), height - 1), min(max(x, 0), width - 1))

    def largest_product(feature: Array, y: float, x: float) -> float:
        taps = [bilinear(place, size, "replicate") for place, size in zip((y, x), feature.shape, strict=True)]
        return max((wy * wx * feature[row, column] for row, wy in taps[0] for column, wx in taps[1]), default=0.0)

    with np.errstate(invalid="ignore"):
        divided_by_none = float(np.float64(0.0) / np.float64(0.0))  # the sum of no samples, divided by their number
    whole = np.array([[0, 0.0, 0.0, 4.0, 4.0]])
    return [
        (
            "Corners cut to integers",
            "RoIAlign was introduced to avoid rounding. `int(x1 * scale)` brings back RoIPool's misalignment. "
            "The box is (2.4, 2.7, 8.1, 8.3).",
            pool(RAMP, [math.floor(value) for value in uneven], 2, 2),
            right_of(RAMP, uneven, 2, 2),
        ),
        (
            "One added to the size",
            "`x2 - x1 + 1` counts pixels, but a box is a continuous interval of length `x2 - x1`.",
            pool(RAMP, [*BOX[:2], *(value + 1 for value in BOX[2:])], 2, 2),
            right,
        ),
        (
            "The image index scaled with the box",
            "`rois * spatial_scale` also scales the column of image indices. At scale 1/2, image 2 becomes image 1. "
            "Here, the pixels of every image have its index as their value.",
            float(roialign.roi_align(images, last * [0.5, 1, 1, 1, 1], 1).item()),
            float(roialign.roi_align(images, last, 1).item()),
        ),
        (
            "No half-pixel shift",
            "Pixel centres have integer coordinates, so image coordinate x maps to feature coordinate `x * scale - "
            "0.5`. Without the shift (`aligned=False`), every feature is read half a pixel too far down and right.",
            right,
            roialign.roi_align(RAMP[None, None], np.array([[0, *BOX]]), 2, 1.0, 2)[0, 0],
        ),
        (
            "The half-pixel shift twice",
            "The caller shifts the boxes, and the operator shifts them again. This happens if a model that shifts "
            "boxes is exported to an ONNX operator set whose RoiAlign applies the shift by default.",
            right_of(RAMP, tuple(corner - 0.5 for corner in BOX), 2, 2),
            right_of(RAMP, BOX, 2, 2),
        ),
        (
            "A stride taken for a power of two",
            "In a vision transformer with patches of 14 px, an image of 140 px gives a map of 10 x 10 pixels. An "
            "implementation that rounds the stride to a power of two uses 16 instead of 14. The box is "
            "(28, 28, 112, 112) in image pixels.",
            roialign.roi_align(RAMP[None, None], np.array([[0, *STRIDE_BOX]]), 2, 1 / 16, 2)[0, 0],
            roialign.roi_align(RAMP[None, None], np.array([[0, *STRIDE_BOX]]), 2, 1 / 14, 2)[0, 0],
        ),
        (
            "A gradient that is not the transpose",
            "If the forward pass ends a bin one pixel before the end of the map, but the backward pass ends it at the "
            "edge, then the last row and column get a gradient although the forward pass never reads them. The numbers "
            "are the gradient of the last pixel of a 4 x 4 map under one bin of `ps_roi_pool`.",
            1.0 / (4 * 4),
            float(roialign.ps_roi_pool_backward(np.ones((1, 1, 1, 1)), ones[None, None, :4, :4], whole)[0, 0, 3, 3]),
        ),
        (
            "Samples off the map read from its edge",
            "A sample more than one pixel outside the map counts as zero in the mean. Clamping its coordinate instead "
            "extends the edge of the map to infinity. The map has ones, and the box (7, 2, 15, 8) reaches beyond it.",
            pool(ones, outside, 2, 2, read_clamped),
            right_of(ones, outside, 2, 2),
        ),
        (
            "One past the edge",
            "With `y1 = y0 + 1` and no border rule, a sample beyond the last pixel centre also reads the memory after "
            "the last row. In this example, that memory holds -99, and the sample is at y = 9.4, x = 5.",
            float(np.interp(9.4, [9.0, 10.0], [RAMP[9, 5], -99.0])),
            float(read_right(RAMP, 9.4, 5.0)),
        ),
        (
            "Divided by the number of samples of an empty box",
            "For a box of zero size the adaptive number of samples is `ceil(0) = 0`, and 0 / 0 is NaN. The divisor "
            "must be at least 1.",
            divided_by_none,
            float(roialign.roi_align(RAMP[None, None], np.array([[0, *small]]), 1).item()),
        ),
        (
            "The maximum of the products",
            "ONNX's `max` takes the maximum of weight times pixel, not of the interpolated samples. A map of ones then "
            "gives less than one.",
            pool(ones, (2.2, 2.2, 4.2, 4.2), 1, 1, largest_product, np.max),
            right_of(ones, (2.2, 2.2, 4.2, 4.2), 1, 1, mode="max"),
        ),
        (
            "A maximum that starts at zero",
            "If the accumulator starts at 0 instead of at the first sample, every negative map gives 0. "
            "Here, all pixels are -1.",
            np.maximum(pool(deep, BOX, 1, 2, reduce=np.max), 0.0),
            right_of(deep, BOX, 1, 2, mode="max"),
        ),
        (
            "Boxes rounded to the features' half precision",
            "At x = 3000, float16 has a resolution of 2 px. Boxes must keep their own dtype. Here, the value of a "
            "pixel is its x coordinate, and the box goes from x = 3000.3 to 3004.3.",
            float(roialign.roi_align(wide, far.astype(np.float16), 1).item()),
            float(roialign.roi_align(wide, far, 1).item()),
        ),
        (
            "An image index rounded to half precision",
            "float16 cannot represent 2049, so the box reads the features of another image.",
            float(np.float16(2049.0)),
            2049.0,
        ),
    ]


def page() -> str:
    lines = [
        "# Classic mistakes",
        "",
        "This page lists common mistakes in implementations of RoIAlign, from widely copied tutorial code and from",
        "packages. Each is shown with the wrong and the right result. Unless stated otherwise, the map is a ramp of",
        "10 x 10 pixels with values 10 * row + column, the box is (2, 2, 8, 8) in feature pixels, and there are",
        "2 x 2 bins of 4 points. `a, b; c, d` means two rows of bins. `docs/mistakes.py` computes the numbers and",
        "writes this page. The [playground](playground.md) shows the half-pixel shift, rounded boxes and sample",
        "points on a picture.",
        "",
    ]
    for title, what, wrong, right in mistakes():
        lines += [f"## {title}", "", what, "", "| wrong | right |", "| --- | --- |"]
        lines += [f"| {shown(wrong)} | {shown(right)} |", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
