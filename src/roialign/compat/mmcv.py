"""Drop-in replacements for the RoI operators and rotated overlaps of `mmcv.ops` and the RoI extractors of mmdet.

Signatures and conventions are mmcv's: RoIs are ``[K, 5]`` rows (image index, x1, y1, x2, y2) and are aligned by
default. Known bugs of mmcv are not reproduced; docs/migrating.md lists the differences.
"""

from ..torch import _installed  # noqa: F401 - first, so that it says what is missing

# isort: split
from ._mmcv import PrRoIPool, RoIAlign, SimpleRoIAlign, prroi_pool, roi_align
from ._mmcv_points import (
    DeformRoIPool,
    DeformRoIPoolPack,
    ModulatedDeformRoIPoolPack,
    RiRoIAlignRotated,
    RoIAlignRotated,
    RoIPool,
    deform_roi_pool,
    riroi_align_rotated,
    roi_align_rotated,
    roi_pool,
)
from ._mmcv_rotated import box_iou_rotated, diff_iou_rotated_2d, nms_rotated
from ._mmdet import BaseRoIExtractor, GenericRoIExtractor, SingleRoIExtractor

__all__ = [
    "BaseRoIExtractor",
    "DeformRoIPool",
    "DeformRoIPoolPack",
    "GenericRoIExtractor",
    "ModulatedDeformRoIPoolPack",
    "PrRoIPool",
    "RiRoIAlignRotated",
    "RoIAlign",
    "RoIAlignRotated",
    "RoIPool",
    "SimpleRoIAlign",
    "SingleRoIExtractor",
    "box_iou_rotated",
    "deform_roi_pool",
    "diff_iou_rotated_2d",
    "nms_rotated",
    "prroi_pool",
    "riroi_align_rotated",
    "roi_align",
    "roi_align_rotated",
    "roi_pool",
]
