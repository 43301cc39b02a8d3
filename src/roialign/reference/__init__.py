"""The specification: every operator in NumPy and float64, written for clarity instead of speed.

Each of the five steps is a file with a function of one axis. `taps` combines them into the matrix of one axis, and
`separable` combines two axes into the operators. The kernels are tested against this package.
"""

from .aggregate import aggregate_mean
from .bilinear import bilinear
from .bin_grid import bin_grid
from .map_boxes import map_boxes, map_boxes_tangent
from .roi_pool import integer_bins, roi_pool
from .sample_points import SamplePoint, sample_points
from .separable import adjoint_boxes, adjoint_features, forward
from .taps import taps

__all__ = [
    "SamplePoint",
    "adjoint_boxes",
    "adjoint_features",
    "aggregate_mean",
    "bilinear",
    "bin_grid",
    "forward",
    "integer_bins",
    "map_boxes",
    "map_boxes_tangent",
    "roi_pool",
    "sample_points",
    "taps",
]
