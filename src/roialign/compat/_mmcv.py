"""mmcv's RoIAlign and Precise RoI Pooling, as functions and as modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .. import _validate
from .._rows import ROW_OF
from .._typing import Mode
from ..ops.prroi_pool import prroi_pool as _prroi_pool
from ..ops.roi_align import roi_align as _roi_align
from ..torch.checks import check_array, check_features
from ._calls import asserting, not_negative, peer
from ._deprecated import deprecated_names
from ._module import DescribedModule, check_arguments


@peer(features="input", mode="pool_mode")
def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    pool_mode: Mode = "avg",
    aligned: bool = True,
) -> Tensor:
    """`mmcv.ops.roi_align`, which is also differentiable with respect to the boxes.

    Concretely, it is ``roialign.roi_align(input, rois, output_size, spatial_scale, sampling_ratio, mode=pool_mode,
    aligned=aligned)``.

    Parameters
    ----------
    input : tensor ``[N, C, H, W]``
        The feature map. Any strides are allowed.
    rois : tensor ``[K, 5]`` with rows (image index, x1, y1, x2, y2)
        Boxes in image pixels. Any real dtype is allowed.
    output_size : int or (int, int)
        The number of bins along y and x.
    spatial_scale : float, default 1.0
        Feature pixels per image pixel.
    sampling_ratio : int, default 0
        Sample points per bin and axis. 0 or less is adaptive: ``ceil(bin length)`` points.
    pool_mode : str, default "avg"
        "avg" or "max", the `mode` of :func:`roialign.roi_align`.
    aligned : bool, default True
        If True, shift the boxes by half a pixel.

    Returns
    -------
    tensor ``[K, C, PH, PW]``

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import roi_align
    >>> ramp = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> roi_align(ramp, torch.tensor([[0.0, 0.5, 0.5, 2.5, 2.5]]), 2)
    tensor([[[[2.5000, 3.5000],
              [6.5000, 7.5000]]]])

    References
    ----------
    He, Gkioxari, Dollar, Girshick, "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870
    """
    size = _validate.check_output_size(output_size)
    return _roi_align(input, rois, size, spatial_scale, not_negative(sampling_ratio), mode=pool_mode, aligned=aligned)


@peer()
def prroi_pool(features: Tensor, rois: Tensor, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Tensor:
    """`mmcv.ops.prroi_pool`: Precise RoI Pooling, with the gradient to the boxes from its paper.

    Concretely, it is ``roialign.prroi_pool(features, rois, output_size, spatial_scale)``.

    Parameters
    ----------
    features : tensor ``[N, C, H, W]``
        The feature map.
    rois : tensor ``[K, 5]`` with rows (image index, x1, y1, x2, y2)
        Boxes in image pixels.
    output_size : int or (int, int)
        The number of bins along y and x.
    spatial_scale : float, default 1.0
        Feature pixels per image pixel.

    Returns
    -------
    tensor ``[K, C, PH, PW]``

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import prroi_pool
    >>> prroi_pool(torch.ones(1, 1, 1, 1), torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]]), 1)
    tensor([[[[0.2500]]]])

    References
    ----------
    Jiang, Luo, Mao, Xiao, Jiang, "Acquisition of Localization Confidence for Accurate Object Detection", ECCV 2018,
    https://arxiv.org/abs/1807.11590
    """
    return _prroi_pool(features, rois, _validate.check_output_size(output_size), spatial_scale)


class RoIAlign(DescribedModule):
    """`mmcv.ops.RoIAlign`: :func:`roi_align` as a module. `use_torchvision` is accepted and ignored.

    The deprecated names `out_size` and `sample_num` are accepted with a DeprecationWarning, as in mmcv.
    """

    shown = ("output_size", "spatial_scale", "sampling_ratio", "pool_mode", "aligned", "use_torchvision")

    @asserting
    @deprecated_names(out_size="output_size", sample_num="sampling_ratio")
    def __init__(
        self,
        output_size: int | Sequence[int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = 0,
        pool_mode: Mode = "avg",
        aligned: bool = True,
        use_torchvision: bool = False,
    ) -> None:
        super().__init__()
        self.output_size = _validate.check_output_size(output_size)
        self.spatial_scale = float(spatial_scale)
        self.sampling_ratio = int(sampling_ratio)
        self.pool_mode = pool_mode
        self.aligned = aligned
        self.use_torchvision = use_torchvision
        check_arguments(self, RoIAlign.forward)

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        options = (self.spatial_scale, self.sampling_ratio, self.pool_mode, self.aligned)
        return roi_align(input, rois, self.output_size, *options)


class PrRoIPool(DescribedModule):
    """`mmcv.ops.PrRoIPool`: :func:`prroi_pool` as a module."""

    shown = ("output_size", "spatial_scale")

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> None:
        super().__init__()
        self.output_size = _validate.check_output_size(output_size)
        self.spatial_scale = float(spatial_scale)
        check_arguments(self, PrRoIPool.forward)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        return prroi_pool(features, rois, self.output_size, self.spatial_scale)


class SimpleRoIAlign(DescribedModule):
    """`mmcv.ops.SimpleRoIAlign`: interpolate the zero-padded map at one point in the middle of every bin.

    Concretely, an image coordinate x becomes the map coordinate ``x * spatial_scale - 0.5``. With ``aligned=False`` it
    becomes ``x * spatial_scale * (W - 1) / W``, as in `grid_sample` with ``align_corners=True``.
    """

    shown = ("output_size", "spatial_scale", "aligned")

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float, aligned: bool = True) -> None:
        super().__init__()
        self.output_size = _validate.check_output_size(output_size)
        self.spatial_scale = float(spatial_scale)
        self.aligned = aligned
        check_arguments(self, SimpleRoIAlign.forward)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        return _one_point(features, rois, self.output_size, self.spatial_scale, self.aligned)


@peer()
def _one_point(features: Tensor, rois: Tensor, output_size: tuple[int, int], scale: float, aligned: bool) -> Tensor:
    """Compute :class:`SimpleRoIAlign`."""
    check_rows(rois)
    _validate.check_bool(aligned, "aligned")
    _validate.check_number(scale, "spatial_scale", positive=True)
    height, width = check_features(features, "NCHW", "features").shape[2:]
    rows = rois.double()
    # RoIAlign keeps the edge value for one pixel beyond the map. A border of zeros around the map makes it zero.
    shift = 1 / scale
    if not aligned:
        # Use float64: under torch.jit.trace the sizes are integer tensors, and their quotient would be a float32.
        corners = torch.stack([_less_one(width, rows), _less_one(height, rows)]).repeat(2)
        rows = torch.cat([rows[:, :1], rows[:, 1:] * corners], 1)
        shift += 0.5 / scale
    rows = torch.cat([rows[:, :1], rows[:, 1:] + shift], 1)  # a tensor of shifts would make a GPU wait for the copy
    ringed = functional.pad(features, (1, 1, 1, 1))
    return _roi_align(ringed, rows, output_size, scale, 1, aligned=True)


def _less_one(size: int, like: Tensor) -> Tensor:
    """(size - 1) / size in float64."""
    whole = like.new_ones(()) * size
    return (whole - 1) / whole


@peer()
def check_rows(rois: Tensor, numbers: int = 4) -> None:
    check_array(rois, "rois")
    if rois.dim() != 2 or rois.shape[1] != numbers + 1:
        raise ValueError(
            f"rois: expected shape [K, {numbers + 1}] with rows {ROW_OF[numbers]}, got {tuple(rois.shape)}"
        )
