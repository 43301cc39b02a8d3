"""Region-of-interest operators for NumPy, PyTorch and JAX: exact, deterministic and fast, with every gradient."""

from . import _forks, _moved
from ._runtime import build_info, get_num_threads, set_num_threads
from ._version import __version__
from ._warnings import RoIWarning
from .ops.bilinear_interpolate import bilinear_interpolate, bilinear_interpolate_backward
from .ops.crop_and_resize import crop_and_resize, crop_and_resize_backward
from .ops.deform_roi_pool import deform_roi_pool, deform_roi_pool_backward
from .ops.fpn_levels import fpn_levels
from .ops.multiscale_roi_align import multiscale_roi_align, multiscale_roi_align_backward
from .ops.multiscale_roi_align_rotated import multiscale_roi_align_rotated, multiscale_roi_align_rotated_backward
from .ops.prroi_pool import prroi_pool, prroi_pool_backward
from .ops.ps_roi_align import ps_roi_align, ps_roi_align_backward
from .ops.ps_roi_pool import ps_roi_pool, ps_roi_pool_backward
from .ops.riroi_align_rotated import riroi_align_rotated, riroi_align_rotated_backward
from .ops.roi_align import roi_align, roi_align_backward
from .ops.roi_align_rotated import roi_align_rotated, roi_align_rotated_backward
from .ops.roi_pool import roi_pool, roi_pool_backward
from .ops.rotated_iou import rotated_iou, rotated_iou_backward
from .ops.rotated_nms import rotated_nms
from .ops.taps import taps

_forks.watch()
_moved.install()

__all__ = [
    "RoIWarning",
    "__version__",
    "bilinear_interpolate",
    "bilinear_interpolate_backward",
    "build_info",
    "crop_and_resize",
    "crop_and_resize_backward",
    "deform_roi_pool",
    "deform_roi_pool_backward",
    "fpn_levels",
    "get_num_threads",
    "multiscale_roi_align",
    "multiscale_roi_align_backward",
    "multiscale_roi_align_rotated",
    "multiscale_roi_align_rotated_backward",
    "prroi_pool",
    "prroi_pool_backward",
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "riroi_align_rotated",
    "riroi_align_rotated_backward",
    "roi_align",
    "roi_align_backward",
    "roi_align_rotated",
    "roi_align_rotated_backward",
    "roi_pool",
    "roi_pool_backward",
    "rotated_iou",
    "rotated_iou_backward",
    "rotated_nms",
    "set_num_threads",
    "taps",
]
