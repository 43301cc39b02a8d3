"""The public operators under one signature each, for tests that ask the same of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import roialign

Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[..., Any]

BINS = (2, 3)


def features_of(shape: tuple[int, ...] = (2, 3, 6, 8), dtype: Any = np.float64) -> Array:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


def rois_of(dtype: Any = np.float64) -> Array:
    """Three good rows over two images."""
    return np.array([[0, 1, 1, 6, 5], [1, 0, 2, 3, 4], [0, -3, 1, 2.5, 9]], dtype=dtype)


def ones_like_answer(features: Any, rois: Any, layout: str = "NCHW") -> Array:
    """A gradient of ones, of the shape of the answer where the arguments allow to tell."""
    shape = features.shape if isinstance(features, np.ndarray) and features.ndim == 4 else (1, 1, 1, 1)
    count = sum(map(len, rois)) if isinstance(rois, (list, tuple)) else len(rois) if isinstance(rois, np.ndarray) else 0
    channels = shape[1] if layout == "NCHW" else shape[3]
    answer = (count, channels, *BINS) if layout == "NCHW" else (count, *BINS, channels)
    return np.ones(answer, dtype=features.dtype if isinstance(features, np.ndarray) else np.float64)


def _gradient(features: Any, rois: Any, more: dict[str, Any]) -> Array:
    given = more.pop("grad_output", None)
    return ones_like_answer(features, rois, more.get("layout", "NCHW")) if given is None else given


def roi_align(features: Any, rois: Any, **more: Any) -> Any:
    return roialign.roi_align(features, rois, more.pop("output_size", BINS), **more)


def roi_align_backward(features: Any, rois: Any, **more: Any) -> Any:
    return roialign.roi_align_backward(_gradient(features, rois, more), features, rois, **more)


def multiscale_roi_align(features: Any, rois: Any, **more: Any) -> Any:
    scales = [more.pop("spatial_scale", 1.0)]
    return roialign.multiscale_roi_align([features], rois, more.pop("output_size", BINS), scales, **more)


def multiscale_roi_align_backward(features: Any, rois: Any, **more: Any) -> Any:
    gradient, scales = _gradient(features, rois, more), [more.pop("spatial_scale", 1.0)]
    grad_features, grad_rois = roialign.multiscale_roi_align_backward(gradient, [features], rois, scales, **more)
    return None if grad_features is None else grad_features[0], grad_rois


def prroi_pool(features: Any, rois: Any, **more: Any) -> Any:
    return roialign.prroi_pool(features, rois, more.pop("output_size", BINS), **more)


def prroi_pool_backward(features: Any, rois: Any, **more: Any) -> Any:
    return roialign.prroi_pool_backward(_gradient(features, rois, more), features, rois, **more)


def roi_align_max(features: Any, rois: Any, **more: Any) -> Any:
    return roi_align(features, rois, **{"mode": "max", **more})


def roi_align_max_backward(features: Any, rois: Any, **more: Any) -> Any:
    return roi_align_backward(features, rois, **{"mode": "max", **more})


def deform_roi_pool(features: Any, rois: Any, **more: Any) -> Any:
    return roialign.deform_roi_pool(features, rois, None, more.pop("output_size", BINS), **more)


def deform_roi_pool_backward(features: Any, rois: Any, **more: Any) -> Any:
    gradient = _gradient(features, rois, more)
    return roialign.deform_roi_pool_backward(gradient, features, rois, None, **{"need": ("features", "rois"), **more})[
        :2
    ]


FORWARD: dict[str, Call] = {
    "roi_align_max": roi_align_max,
    "deform_roi_pool": deform_roi_pool,
    "roi_align": roi_align,
    "multiscale_roi_align": multiscale_roi_align,
    "prroi_pool": prroi_pool,
}
BACKWARD: dict[str, Call] = {
    "roi_align_max_backward": roi_align_max_backward,
    "deform_roi_pool_backward": deform_roi_pool_backward,
    "roi_align_backward": roi_align_backward,
    "multiscale_roi_align_backward": multiscale_roi_align_backward,
    "prroi_pool_backward": prroi_pool_backward,
}
EVERY = {**FORWARD, **BACKWARD}


def crop_and_resize(features: Any, boxes: Any, indices: Any, **more: Any) -> Any:
    return roialign.crop_and_resize(features, boxes, indices, more.pop("crop_size", BINS), **more)


def crop_and_resize_backward(features: Any, boxes: Any, indices: Any, **more: Any) -> Any:
    count = len(boxes) if isinstance(boxes, np.ndarray) and boxes.ndim else 0
    channels = features.shape[-1] if isinstance(features, np.ndarray) else 1
    dtype = features.dtype if isinstance(features, np.ndarray) else np.float64
    gradient = more.pop("grad_output", np.ones((count, *BINS, channels), dtype=dtype))
    return roialign.crop_and_resize_backward(gradient, features, boxes, indices, **more)


CROPS: dict[str, Call] = {"crop_and_resize": crop_and_resize, "crop_and_resize_backward": crop_and_resize_backward}
