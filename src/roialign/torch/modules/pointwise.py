"""The pointwise operators as modules, and deformable pooling that learns its own offsets."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ... import _validate
from ...ops.deform_roi_pool import deform_roi_pool
from ...ops.multiscale_roi_align_rotated import multiscale_roi_align_rotated
from ...ops.ps_roi_align import ps_roi_align
from ...ops.ps_roi_pool import ps_roi_pool
from ...ops.riroi_align_rotated import riroi_align_rotated
from ...ops.roi_align_rotated import roi_align_rotated
from ...ops.roi_pool import roi_pool
from .separable import Configured

#: What a function gets anew with every call.
PER_CALL = ("features", "rois", "offset", "mask", "levels", "batch_indices", "out")


class _Pooling(Configured):
    """A function as a module: what does not change from call to call is set once."""

    function: ClassVar[Callable[..., Any]]
    #: Parameters of a module besides those of its function, behind the first.
    own: ClassVar[tuple[inspect.Parameter, ...]] = ()
    #: Parameters of its function that a module does not have.
    left_out: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        given = inspect.signature(cls.function).parameters.values()
        first, *others = [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in given
            if parameter.name not in (*PER_CALL, *cls.left_out)
        ]
        cls.__signature__ = inspect.Signature([first, *cls.own, *others])

    __signature__: ClassVar[inspect.Signature]

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__()
        bound = self.__signature__.bind(*values, **named)
        bound.apply_defaults()
        self.configure(bound.arguments)

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of the function, by name, as they are now."""
        own = [parameter.name for parameter in self.own]
        return {name: getattr(self, name) for name in self.names if name not in own}

    def forward(self, features: Any, rois: Tensor | Sequence[Tensor], **more: Any) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``; `more` is what a call may bring besides."""
        pooled: Tensor = type(self).function(features, rois, **more, **self.arguments)
        return pooled


class RoIAlignRotated(_Pooling):
    """:func:`roialign.roi_align_rotated` as a module.

    Concretely, ``RoIAlignRotated(output_size, spatial_scale, ...)(features, rois)`` is
    ``roi_align_rotated(features, rois, output_size, spatial_scale, ...)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import RoIAlignRotated
    >>> pool = RoIAlignRotated(7, 1 / 16, clockwise=True)
    >>> pool
    RoIAlignRotated(output_size=7, spatial_scale=0.0625, clockwise=True)
    >>> pool(torch.rand(1, 8, 50, 84), torch.tensor([[0, 220.0, 170.0, 300.0, 200.0, 0.3]])).shape
    torch.Size([1, 8, 7, 7])
    """

    function = staticmethod(roi_align_rotated)


class MultiScaleRoIAlignRotated(_Pooling):
    """:func:`roialign.multiscale_roi_align_rotated` as a module.

    Concretely, ``MultiScaleRoIAlignRotated(output_size, spatial_scales, ...)(features, rois)`` is
    ``multiscale_roi_align_rotated(features, rois, output_size, spatial_scales, ...)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import MultiScaleRoIAlignRotated
    >>> pyramid = [torch.ones(1, 8, 64, 64), 2 * torch.ones(1, 8, 32, 32)]
    >>> boxes = torch.tensor([[0, 128.0, 128.0, 200.0, 200.0, 0.1]])
    >>> MultiScaleRoIAlignRotated(7, [1 / 4, 1 / 8])(pyramid, boxes).mean()
    tensor(2.)
    """

    function = staticmethod(multiscale_roi_align_rotated)


class RiRoIAlignRotated(_Pooling):
    """:func:`roialign.riroi_align_rotated` as a module.

    Concretely, ``RiRoIAlignRotated(output_size, spatial_scale, ...)(features, rois)`` is
    ``riroi_align_rotated(features, rois, output_size, spatial_scale, ...)``.

    Examples
    --------
    >>> from roialign.torch import RiRoIAlignRotated
    >>> RiRoIAlignRotated(7, 1 / 16, num_orientations=4)
    RiRoIAlignRotated(output_size=7, spatial_scale=0.0625, num_orientations=4)
    """

    function = staticmethod(riroi_align_rotated)


class PSRoIAlign(_Pooling):
    """:func:`roialign.ps_roi_align` as a module.

    Concretely, ``PSRoIAlign(output_size, spatial_scale, ...)(features, rois)`` is
    ``ps_roi_align(features, rois, output_size, spatial_scale, ...)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import PSRoIAlign
    >>> PSRoIAlign(3)(torch.rand(1, 18, 8, 8), torch.tensor([[0, 1.0, 1.0, 6.0, 6.0]])).shape
    torch.Size([1, 2, 3, 3])
    """

    function = staticmethod(ps_roi_align)


class PSRoIPool(_Pooling):
    """:func:`roialign.ps_roi_pool` as a module.

    Concretely, ``PSRoIPool(output_size, spatial_scale)(features, rois)`` is
    ``ps_roi_pool(features, rois, output_size, spatial_scale)``.

    Examples
    --------
    >>> from roialign.torch import PSRoIPool
    >>> PSRoIPool(3, 1 / 16)
    PSRoIPool(output_size=3, spatial_scale=0.0625)
    """

    function = staticmethod(ps_roi_pool)


class RoIPool(_Pooling):
    """:func:`roialign.roi_pool` as a module.

    Concretely, ``RoIPool(output_size, spatial_scale)(features, rois)`` is
    ``roi_pool(features, rois, output_size, spatial_scale)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import RoIPool
    >>> RoIPool(1)(torch.arange(16.0).reshape(1, 1, 4, 4), torch.tensor([[0, 0.0, 0.0, 2.0, 1.0]]))
    tensor([[[[6.]]]])
    """

    function = staticmethod(roi_pool)


class DeformRoIPool(_Pooling):
    """:func:`roialign.deform_roi_pool` as a module, with offsets that come with every call.

    Concretely, ``DeformRoIPool(output_size, spatial_scale, ...)(features, rois, offset, mask)`` is
    ``deform_roi_pool(features, rois, offset, output_size, spatial_scale, ..., mask=mask)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import DeformRoIPool
    >>> boxes = torch.tensor([[0, 1.0, 1.0, 6.0, 6.0]])
    >>> DeformRoIPool(2)(torch.ones(1, 3, 8, 8), boxes, torch.zeros(1, 2, 2, 2)).shape
    torch.Size([1, 3, 2, 2])
    """

    function = staticmethod(deform_roi_pool)

    def forward(
        self,
        features: Tensor,
        rois: Tensor | Sequence[Tensor],
        offset: Tensor | None = None,
        mask: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``."""
        return super().forward(features, rois, offset=offset, mask=mask, **more)


class DeformRoIPoolPack(DeformRoIPool):
    """Deformable RoI pooling that learns its offsets from what it pools without them.

    Concretely, ``pool(features, rois)`` is ``deform_roi_pool(features, rois, offset, ...)`` with ``offset =
    offset_fc(deform_roi_pool(features, rois, None, ...))``, three linear layers whose last starts at zero: so the
    module starts as :func:`roialign.roi_align`.

    Parameters
    ----------
    output_size : int or (int, int)
    output_channels : int
        Channels of the features.
    deform_fc_channels : int, default 1024
        Width of the hidden layers.
    spatial_scale, sampling_ratio, gamma, ... : as in :func:`roialign.deform_roi_pool`

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import DeformRoIPoolPack
    >>> pool = DeformRoIPoolPack(2, 3, 16)
    >>> pool(torch.ones(1, 3, 8, 8), torch.tensor([[0, 1.0, 1.0, 6.0, 6.0]])).shape
    torch.Size([1, 3, 2, 2])

    References
    ----------
    Dai et al., "Deformable Convolutional Networks", ICCV 2017, https://arxiv.org/abs/1703.06211
    """

    function = staticmethod(deform_roi_pool)
    own = (
        inspect.Parameter("output_channels", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        inspect.Parameter("deform_fc_channels", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=1024),
    )

    output_size: int | tuple[int, int]
    output_channels: int
    deform_fc_channels: int

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.bins = _validate.check_output_size(self.output_size)
        output_channels = self.output_channels
        bins, hidden = math.prod(self.bins), self.deform_fc_channels
        self.offset_fc = nn.Sequential(
            nn.Linear(bins * output_channels, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            _zero(nn.Linear(hidden, 2 * bins)),
        )

    def forward(self, features: Tensor, rois: Tensor | Sequence[Tensor], **more: Any) -> Tensor:  # type: ignore[override]
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``."""
        offset, _ = self.learned(features, rois, **more)
        return super().forward(features, rois, offset, **more)

    def learned(self, features: Tensor, rois: Tensor | Sequence[Tensor], **more: Any) -> tuple[Tensor, Tensor]:
        """The offsets, and the pooled features in a row that they are learned from."""
        pooled = super().forward(features, rois, **more)
        flat = (pooled if self.arguments.get("layout", "NCHW") == "NCHW" else pooled.permute(0, 3, 1, 2)).flatten(1)
        return self.offset_fc(flat).reshape(-1, 2, *self.bins), flat


class ModulatedDeformRoIPoolPack(DeformRoIPoolPack):
    """Deformable RoI pooling that learns its offsets and a weight for every bin.

    Concretely, ``pool(features, rois)`` is ``deform_roi_pool(features, rois, offset, ..., mask=mask)`` with the offsets
    of :class:`DeformRoIPoolPack` and a mask from two linear layers and a sigmoid, that starts at one half.

    Parameters
    ----------
    output_size, output_channels, deform_fc_channels, ... : as in :class:`DeformRoIPoolPack`

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import ModulatedDeformRoIPoolPack
    >>> pool = ModulatedDeformRoIPoolPack(2, 3, 16)
    >>> pool(torch.ones(1, 3, 8, 8), torch.tensor([[0, 1.0, 1.0, 6.0, 6.0]])).mean().round(decimals=4).item()
    0.5

    References
    ----------
    Zhu, Hu, Lin, Dai, "Deformable ConvNets v2", CVPR 2019, https://arxiv.org/abs/1811.11168
    """

    function = staticmethod(deform_roi_pool)

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        bins = math.prod(self.bins)
        self.mask_fc = nn.Sequential(
            nn.Linear(bins * self.output_channels, self.deform_fc_channels),
            nn.ReLU(inplace=True),
            _zero(nn.Linear(self.deform_fc_channels, bins)),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor, rois: Tensor | Sequence[Tensor], **more: Any) -> Tensor:  # type: ignore[override]
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``."""
        offset, flat = self.learned(features, rois, **more)
        mask = self.mask_fc(flat).reshape(-1, *self.bins)
        return DeformRoIPool.forward(self, features, rois, offset, mask, **more)


def _zero(layer: nn.Linear) -> nn.Linear:
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    return layer
