"""Drop-in replacements for the RoI operators of `torchvision.ops`, and `install` for existing models.

Signatures and conventions are torchvision's: boxes are not aligned by default, and a sampling ratio of -1 is adaptive.
Known bugs of torchvision are not reproduced; docs/migrating.md lists the differences.
"""

from __future__ import annotations

from ..torch import _installed  # noqa: F401 - first, so that it says what is missing

# isort: split
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _validate
from .._recording import is_proxy
from .._rows import is_of_framework
from ..ops.multiscale_roi_align import multiscale_roi_align
from ..ops.roi_align import roi_align as _roi_align
from ..torch.checks import no_tensor
from ..torch.wiring.tracing import is_jit_traced
from ._calls import not_negative, peer
from ._containers import BOXES, check_dict, items_of
from ._module import DescribedModule, RoIAlignModule, check_arguments, empty_map
from ._torchvision_install import install, installed, uninstall
from ._torchvision_points import PSRoIAlign, PSRoIPool, RoIPool, ps_roi_align, ps_roi_pool, roi_pool

__all__ = [
    "MultiScaleRoIAlign",
    "PSRoIAlign",
    "PSRoIPool",
    "RoIAlign",
    "RoIPool",
    "install",
    "installed",
    "ps_roi_align",
    "ps_roi_pool",
    "roi_align",
    "roi_pool",
    "uninstall",
]

#: torchvision's detection models pad their batches to a multiple of this, and pass on the sizes before padding.
PADDING = 32


@peer(features="input", rois="boxes")
def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """`torchvision.ops.roi_align`, which is also differentiable with respect to the boxes.

    Concretely, it is ``roialign.roi_align(input, boxes, output_size, spatial_scale, max(sampling_ratio, 0),
    aligned=aligned)``.

    Parameters
    ----------
    input : tensor ``[N, C, H, W]``
        The feature map. Any strides are allowed.
    boxes : tensor ``[K, 5]`` with rows (image index, x1, y1, x2, y2), or list of N tensors ``[L, 4]``
        Boxes in image pixels. Any real dtype is allowed.
    output_size : int or (int, int)
        The number of bins along y and x.
    spatial_scale : float, default 1.0
        Feature pixels per image pixel.
    sampling_ratio : int, default -1
        Sample points per bin and axis. 0 or less is adaptive: ``ceil(bin length)`` points.
    aligned : bool, default False
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
    >>> from roialign.compat.torchvision import roi_align
    >>> ramp = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> roi_align(ramp, [torch.tensor([[0.0, 0.0, 2.0, 2.0]])], 2, sampling_ratio=2)
    tensor([[[[2.5000, 3.5000],
              [6.5000, 7.5000]]]])

    References
    ----------
    He, Gkioxari, Dollar, Girshick, "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870
    """
    size = _validate.check_output_size(output_size)
    return _roi_align(input, boxes, size, spatial_scale, not_negative(sampling_ratio), aligned=aligned)


class RoIAlign(RoIAlignModule):
    """`torchvision.ops.RoIAlign`: :func:`roi_align` as a module."""

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool = False
    ) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned)


class MultiScaleRoIAlign(DescribedModule):
    """`torchvision.ops.MultiScaleRoIAlign`: RoIAlign of each box on one level of a feature pyramid, never aligned.

    As in torchvision, the first call infers the scale of each level from the sizes of its map and of the images, and
    stores it in `scales`. Both axes must agree on the stride. The stride need not be a power of two. To avoid the
    inference, or if the stride cannot be inferred, set `scales` (finest first) before the first call.

    To choose levels by another rule, set `map_levels` to a function from the list of boxes to the level of each box, an
    int64 tensor ``[K]``. As in torchvision, it is not called if there is only one level.
    """

    shown = ("featmap_names", "output_size", "sampling_ratio")

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: int | Sequence[int],
        sampling_ratio: int,
        *,
        canonical_scale: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        names = featmap_names.keys() if isinstance(featmap_names, Mapping) else featmap_names
        self.featmap_names = items_of(names, "featmap_names", "a list of names")
        if not self.featmap_names:
            raise ValueError("featmap_names: expected the names of one or more maps, got an empty list")
        self.output_size = _validate.check_output_size(output_size)
        self.sampling_ratio = sampling_ratio
        self.scales: list[float] | None = None
        self.map_levels: Callable[[Sequence[Tensor]], Tensor] | None = None
        self.canonical_scale = int(canonical_scale)
        self.canonical_level = int(canonical_level)
        # One level is enough, because the errors do not depend on their number.
        level, boxes = {self.featmap_names[0]: empty_map()}, [torch.zeros((0, 4), device="cpu")]
        check_arguments(self, MultiScaleRoIAlign._pool_with_scales, level, boxes, [1.0])

    def forward(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Pool boxes from the maps `x`, to a tensor ``[K, C, PH, PW]`` in the order of the boxes.

        `boxes` has one ``[L, 4]`` tensor per image, and `image_shapes` has the (height, width) of each image. Maps that
        are not in `featmap_names` are ignored.
        """
        scales = self.scales
        if scales is None:
            scales = infer_scales(x, image_shapes, self.featmap_names)
            if not (is_proxy(scales) or is_jit_traced()):  # a second recording would differ from the first
                self.scales = scales
        return self._pool_with_scales(x, boxes, scales)

    def _pool_with_scales(self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        levels = None if self.map_levels is None or len(scales) == 1 else self.map_levels(boxes)
        options = (self.sampling_ratio, self.canonical_scale, self.canonical_level, levels)
        return pool_levels(x, boxes, self.featmap_names, self.output_size, scales, *options)


@peer(features="x", rois="boxes", spatial_scale="scales", spatial_scales="scales", canonical_size="canonical_scale")
def pool_levels(
    x: Mapping[str, Tensor],
    boxes: Sequence[Tensor],
    featmap_names: Sequence[str],
    output_size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    canonical_scale: int,
    canonical_level: int,
    levels: Tensor | None,
) -> Tensor:
    """Compute :class:`MultiScaleRoIAlign` with given scales."""
    maps = named_levels(x, featmap_names)
    if len(maps) != len(scales):
        raise ValueError(
            f"x: expected {len(scales)} of the maps {list(featmap_names)}, one for each of the module's `scales` "
            f"{list(scales)}, got {list(maps)}"
        )
    of_images: list[Tensor] = items_of(boxes, "boxes", BOXES)
    return multiscale_roi_align(
        list(maps.values()),
        of_images,
        output_size,
        scales,
        not_negative(sampling_ratio),
        canonical_size=canonical_scale,
        canonical_level=canonical_level,
        levels=levels,
        aligned=False,
    )


def named_levels(x: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    check_dict(x, "x", "of maps by name")
    levels = {name: level for name, level in x.items() if name in names}
    if not levels:
        raise ValueError(f"x: expected a map named in {list(names)}, got the names {list(x)}")
    return levels


@peer()
def infer_scales(
    x: Mapping[str, Tensor], image_shapes: Sequence[tuple[int, int]], featmap_names: Sequence[str]
) -> list[float]:
    """Infer the scale of each map from its size and the sizes of the images."""
    levels = named_levels(x, featmap_names)
    for name, level in levels.items():
        if not is_of_framework(level):
            raise no_tensor(level, f"x[{name!r}]")
    shapes = items_of(image_shapes, "image_shapes", "a list with the (height, width) of each image")
    if not shapes:
        raise ValueError("image_shapes: expected one (height, width) per image, got none")
    for index, shape in enumerate(shapes):
        if len(items_of(shape, f"image_shapes[{index}]", "(height, width)")) < 2:
            raise ValueError(f"image_shapes[{index}]: expected (height, width), got {shape!r}")
    return [1 / infer_stride(level.shape[-2:], shapes, name) for name, level in levels.items()]


def infer_stride(map_shape: Sequence[int], image_shapes: Sequence[tuple[int, int]], name: str) -> int:
    """Infer the stride of a map, in image pixels, from the sizes of the images in the batch before padding.

    The stride is a power of two if the map has the size of the batch, padded or not, at that stride. Otherwise it is
    the integer that explains the sizes of both axes. A convolution may round sizes up or down. Padding may make a batch
    of small images so much larger that only its padded size explains the map.
    """
    map_shape = [_constant(size) for size in map_shape]
    _check_has_pixels(map_shape, f"x[{name!r}]", "a map")
    of_images = [[_constant(shape[axis]) for axis in (0, 1)] for shape in image_shapes]
    for index, shape in enumerate(of_images):
        _check_has_pixels(shape, f"image_shapes[{index}]", "an image")
    image_shape = [max(sizes) for sizes in zip(*of_images, strict=True)]
    padded_shape = [-(-image // PADDING) * PADDING for image in image_shape]
    for stride, shapes in _candidates(image_shape, padded_shape, map_shape[0]):
        if any(_has_stride(map_shape, shape, stride) for shape in shapes):
            return stride
    height, width = (image / size for image, size in zip(image_shape, map_shape, strict=True))
    raise ValueError(
        f"x[{name!r}]: no stride reduces an image of {image_shape[0]} x {image_shape[1]} to a map of {map_shape[0]} x "
        f"{map_shape[1]} (the ratios are {height:.4g} and {width:.4g}); set the module's `scales`"
    )


def _candidates(image: list[int], padded: list[int], size: int) -> Iterator[tuple[int, tuple[list[int], ...]]]:
    """Strides, and the sizes of the batch that each may explain. One by one, because a tracer records comparisons."""
    yield 1 << _log2_of_ratio(image[0], size), (image, padded)
    yield max(_rounded_ratio(image[0], size), 1), (image,)
    yield 1 << _log2_of_ratio(padded[0], size), (padded,)


def _check_has_pixels(shape: Sequence[int], name: str, what: str) -> None:
    """Check a height and a width. The search for a stride would not end if a map had no pixels or an image no end."""
    if any(size < 1 or (isinstance(size, float) and not math.isfinite(size)) for size in shape):
        raise ValueError(
            f"{name}: expected the height and width of {what} of at least 1 x 1 pixels, got {tuple(shape)}"
        )


# Use integers: a tracer with symbolic sizes would record the value of a float as a constant.


def _log2_of_ratio(image: int, size: int) -> int:
    """The integer nearest to log2(image / size), or 0 if that is negative."""
    exponent = 0
    while image * image >= size * size * 2 ** (2 * exponent + 1):
        exponent += 1
    return exponent


def _rounded_ratio(image: int, size: int) -> int:
    """The integer nearest to image / size, with ties to even."""
    whole, rest = image // size, image % size
    return whole + 1 if 2 * rest > size or (2 * rest == size and whole % 2 == 1) else whole


def _constant(size: Any) -> Any:
    """Convert a size to int. Under torch.jit.trace it is a tensor, but the stride does not depend on its value."""
    return int(size) if isinstance(size, Tensor) else size


def _has_stride(map_shape: Sequence[int], image_shape: Sequence[int], stride: int) -> bool:
    return all(
        size in (image // stride, -(-image // stride)) for size, image in zip(map_shape, image_shape, strict=True)
    )
