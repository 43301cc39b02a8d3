"""`torchvision.ops` on our kernels: its functions and modules, and `install` for models as they are.

Signatures and conventions are torchvision's: boxes are not aligned by default, and a sampling ratio of -1 is adaptive.
Where torchvision goes wrong this does not follow; docs/migrating.md says where.
"""

from __future__ import annotations

from ..torch import _installed  # noqa: F401 - first, so that it says what is missing

# isort: split
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .. import _validate
from .._recording import is_proxy
from ..ops.multiscale_roi_align import multiscale_roi_align
from ..ops.roi_align import roi_align as _roi_align
from ..torch.wiring.tracing import is_jit_traced
from ._calls import peer
from ._module import DescribedModule, RoIAlignModule
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

#: torchvision's detection models pad their batches to a multiple of this, and hand over the sizes before padding.
PADDING = 32


@peer
def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """`torchvision.ops.roi_align`, with gradients to the boxes as well.

    Concretely, it is ``roialign.roi_align(input, boxes, output_size, spatial_scale, max(sampling_ratio, 0),
    aligned=aligned)``.

    Parameters
    ----------
    input : tensor ``[N, C, H, W]``
    boxes : tensor ``[K, 5]`` with rows (image index, x1, y1, x2, y2), or list of N tensors ``[L, 4]``
        In image pixels, of any real dtype.
    output_size : int or (int, int)
        Bins along y and x.
    spatial_scale : float, default 1.0
        Feature pixels per image pixel.
    sampling_ratio : int, default -1
        Points per bin and axis; 0 or less is adaptive.
    aligned : bool, default False
        Shift by half a pixel.

    Returns
    -------
    tensor ``[K, C, PH, PW]``

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the row, what was expected and what came.

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
    return _roi_align(input, boxes, size, spatial_scale, max(sampling_ratio, 0), aligned=aligned)


class RoIAlign(RoIAlignModule):
    """`torchvision.ops.RoIAlign`: :func:`roi_align` with its arguments held."""

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool = False
    ) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned)


class MultiScaleRoIAlign(DescribedModule):
    """`torchvision.ops.MultiScaleRoIAlign`: RoIAlign of each box on one level of a feature pyramid, never aligned.

    The scale of a level is worked out from the sizes of map and image at the first call, as torchvision does, and kept
    in `scales`: both axes must tell the same stride, and a stride of 14 is 14. Where the shapes cannot tell, or to have
    no doubt, set `scales` (finest first) beforehand.
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
        self.featmap_names = list(featmap_names)
        self.output_size = _validate.check_output_size(output_size)
        self.sampling_ratio = sampling_ratio
        self.scales: list[float] | None = None
        self.canonical_scale = int(canonical_scale)
        self.canonical_level = int(canonical_level)

    def forward(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Pool boxes, one ``[L, 4]`` tensor per image, from the maps `x` of images of `image_shapes` (height, width).

        Maps that `featmap_names` does not name are not looked at. Returns ``[K, C, PH, PW]`` in the order of the boxes.
        """
        scales = self.scales
        if scales is None:
            scales = infer_scales(x, image_shapes, self.featmap_names)
            if not (is_proxy(scales) or is_jit_traced()):  # a record would differ from the next one
                self.scales = scales
        return pool_levels(
            x,
            boxes,
            self.featmap_names,
            self.output_size,
            scales,
            self.sampling_ratio,
            self.canonical_scale,
            self.canonical_level,
        )


@peer
def pool_levels(
    x: Mapping[str, Tensor],
    boxes: Sequence[Tensor],
    featmap_names: Sequence[str],
    output_size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    canonical_scale: int,
    canonical_level: int,
) -> Tensor:
    """What a :class:`MultiScaleRoIAlign` computes, given the scales."""
    return multiscale_roi_align(
        list(named_levels(x, featmap_names).values()),
        list(boxes),
        output_size,
        scales,
        max(sampling_ratio, 0),
        canonical_size=canonical_scale,
        canonical_level=canonical_level,
        aligned=False,
    )


def named_levels(x: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    levels = {name: level for name, level in x.items() if name in names}
    if not levels:
        raise ValueError(f"x: expected maps named {list(names)}, got {list(x)}")
    return levels


@peer
def infer_scales(
    x: Mapping[str, Tensor], image_shapes: Sequence[tuple[int, int]], featmap_names: Sequence[str]
) -> list[float]:
    """The scale of every map, from its size and that of the images."""
    levels = named_levels(x, featmap_names)
    return [1 / infer_stride(level.shape[-2:], image_shapes, name) for name, level in levels.items()]


def infer_stride(map_shape: Sequence[int], image_shapes: Sequence[tuple[int, int]], name: str) -> int:
    """Image pixels per pixel of a map of `map_shape`, from the sizes before padding of the images in the batch.

    A power of two if the map has the size that the batch, padded or not, has at that stride; otherwise the integer that
    explains both axes. A convolution rounds sizes up or down.
    """
    map_shape = [_constant(size) for size in map_shape]
    image_shape = [max(_constant(shape[axis]) for shape in image_shapes) for axis in (0, 1)]
    padded_shape = [-(-image // PADDING) * PADDING for image in image_shape]
    power_of_two = 1 << _log2_of_ratio(image_shape[0], map_shape[0])
    nearest = max(_rounded_ratio(image_shape[0], map_shape[0]), 1)
    for stride, shapes in ((power_of_two, (image_shape, padded_shape)), (nearest, (image_shape,))):
        if any(_has_stride(map_shape, shape, stride) for shape in shapes):
            return stride
    height, width = (image / size for image, size in zip(image_shape, map_shape, strict=True))
    raise ValueError(
        f"x[{name!r}]: no stride makes a map of {map_shape[0]} x {map_shape[1]} of an image of {image_shape[0]} x "
        f"{image_shape[1]} (ratios {height:.4g} and {width:.4g}); set `scales` of the module"
    )


# In integers: a tracer with symbols for sizes would take the one value that a float has for a constant.


def _log2_of_ratio(image: int, size: int) -> int:
    """The integer nearest to log2(image / size), or 0 where that is negative."""
    exponent = 0
    while image * image >= size * size * 2 ** (2 * exponent + 1):
        exponent += 1
    return exponent


def _rounded_ratio(image: int, size: int) -> int:
    """The integer nearest to image / size; of two the even one."""
    whole, rest = image // size, image % size
    return whole + 1 if 2 * rest > size or (2 * rest == size and whole % 2 == 1) else whole


def _constant(size: Any) -> Any:
    """A size as torch.jit.trace has it is a tensor; a stride does not change with it."""
    return int(size) if isinstance(size, Tensor) else size


def _has_stride(map_shape: Sequence[int], image_shape: Sequence[int], stride: int) -> bool:
    return all(
        size in (image // stride, -(-image // stride)) for size, image in zip(map_shape, image_shape, strict=True)
    )
