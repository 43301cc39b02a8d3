"""Other ways to the same answers, sharing no code with the library: slow and literal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: ``(row, axis, bin_index, bin_start, bin_length)`` to the points of that bin along that axis (0 is y).
Points = Callable[[int, int, int, float, float], list[float]]


def bilinear_point(feature: Array, y: float, x: float) -> Array:
    """A ``[C, H, W]`` map at one point, as RoIAlign's authors have it: the border rule and four neighbours."""
    height, width = feature.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(feature.shape[0])
    y, x = max(y, 0.0), max(x, 0.0)
    y_low, x_low = int(y), int(x)
    if y_low >= height - 1:
        y_low = y_high = height - 1
        y = float(y_low)
    else:
        y_high = y_low + 1
    if x_low >= width - 1:
        x_low = x_high = width - 1
        x = float(x_low)
    else:
        x_high = x_low + 1
    ly, lx = y - y_low, x - x_low
    hy, hx = 1 - ly, 1 - lx
    total = hy * hx * feature[:, y_low, x_low] + hy * lx * feature[:, y_low, x_high]
    total = total + ly * hx * feature[:, y_high, x_low] + ly * lx * feature[:, y_high, x_high]
    return np.asarray(total)


def pointwise_roi_align(
    features: Array,
    rois: Array,
    output_size: tuple[int, int],
    spatial_scale: float,
    points: Points,
    aligned: bool = True,
) -> Array:
    """RoIAlign by its formula: the mean over the product of the points of both axes, one point at a time."""
    out = np.zeros((len(rois), features.shape[1], *output_size))
    offset = 0.5 if aligned else 0.0
    for row, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        start_x, start_y = x1 * spatial_scale - offset, y1 * spatial_scale - offset
        width, height = x2 * spatial_scale - offset - start_x, y2 * spatial_scale - offset - start_y
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_height, bin_width = height / output_size[0], width / output_size[1]
        for i, j in np.ndindex(*output_size):
            ys = points(row, 0, i, start_y + i * bin_height, bin_height)
            xs = points(row, 1, j, start_x + j * bin_width, bin_width)
            samples = [bilinear_point(features[int(image)], y, x) for y in ys for x in xs]
            out[row, :, i, j] = sum(samples, np.zeros(features.shape[1])) / max(len(samples), 1)
    return out


def grid_points(sampling_ratio: tuple[int, int]) -> Points:
    """The middles of equal parts of a bin; 0 is one part per pixel of length, rounded up."""

    def points(_row: int, axis: int, _bin_index: int, bin_start: float, bin_length: float) -> list[float]:
        count = sampling_ratio[axis] if sampling_ratio[axis] > 0 else math.ceil(bin_length)
        return [bin_start + (index + 0.5) * bin_length / count for index in range(count)]

    return points


def random_points(sampling_ratio: tuple[int, int], seed: int) -> Points:
    """One point in each part, where the generator puts it."""

    def points(row: int, axis: int, bin_index: int, bin_start: float, bin_length: float) -> list[float]:
        count = sampling_ratio[axis] if sampling_ratio[axis] > 0 else math.ceil(bin_length)
        samples = np.arange(max(count, 0))
        counter = np.array(
            [samples, *(np.full_like(samples, word) for word in (bin_index, axis, row))], dtype=np.uint32
        )
        words = philox(counter, np.array([seed % 2**32, seed // 2**32], dtype=np.uint32))[0]
        return list((bin_start + (samples + (words + 0.5) / 2**32) * bin_length / count).tolist()) if count > 0 else []

    return points


def philox(counter: Array, key: Array) -> Array:
    """Philox-4x32-10 after the figure in the paper; `counter` is four words, or four arrays of words, of uint32."""
    (left_0, right_0, left_1, right_1), (key_0, key_1) = counter.astype(np.uint64), key.astype(np.uint64)
    low_half, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        wide_0, wide_1 = left_0 * np.uint64(0xD2511F53), left_1 * np.uint64(0xCD9E8D57)
        left_0, right_0, left_1, right_1 = (
            (wide_1 >> shift) ^ right_0 ^ key_0,
            wide_1 & low_half,
            (wide_0 >> shift) ^ right_1 ^ key_1,
            wide_0 & low_half,
        )
        key_0, key_1 = (key_0 + np.uint64(0x9E3779B9)) & low_half, (key_1 + np.uint64(0xBB67AE85)) & low_half
    return np.array([left_0, right_0, left_1, right_1]).astype(np.uint32)


def pointwise_crop_and_resize(
    image: Array, boxes: Array, box_indices: Array, crop_size: tuple[int, int], fill: float
) -> Array:
    """``[N, H, W, C]`` crops of normalised (y1, x1, y2, x2) boxes by TensorFlow's formula."""
    height, width = image.shape[1:3]
    rows, columns = crop_size
    out = np.full((len(boxes), rows, columns, image.shape[3]), fill)
    for k, (y1, x1, y2, x2) in enumerate(boxes.tolist()):
        for i, j in np.ndindex(rows, columns):
            y = (
                y1 * (height - 1) + i * (y2 - y1) * (height - 1) / (rows - 1)
                if rows > 1
                else (y1 + y2) / 2 * (height - 1)
            )
            x = (
                x1 * (width - 1) + j * (x2 - x1) * (width - 1) / (columns - 1)
                if columns > 1
                else (x1 + x2) / 2 * (width - 1)
            )
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                top, bottom, left, right = math.floor(y), math.ceil(y), math.floor(x), math.ceil(x)
                source = image[int(box_indices[k])]
                upper = source[top, left] + (source[top, right] - source[top, left]) * (x - left)
                lower = source[bottom, left] + (source[bottom, right] - source[bottom, left]) * (x - left)
                out[k, i, j] = upper + (lower - upper) * (y - top)
    return out
