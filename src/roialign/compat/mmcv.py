"""`mmcv.ops` and mmdet's RoI extractors on our kernels.

Signatures and conventions are mmcv's: rois are ``[K, 5]`` rows (image index, x1, y1, x2, y2), aligned by default. Where
mmcv goes wrong this does not follow; docs/migrating.md says where.
"""

from ._mmcv import PrRoIPool, RoIAlign, SimpleRoIAlign, prroi_pool, roi_align
from ._mmdet import GenericRoIExtractor, SingleRoIExtractor

__all__ = [
    "GenericRoIExtractor",
    "PrRoIPool",
    "RoIAlign",
    "SimpleRoIAlign",
    "SingleRoIExtractor",
    "prroi_pool",
    "roi_align",
]
