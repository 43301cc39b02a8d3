"""Deformable RoI pooling as modules, with given or with learned offsets."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import _validate
from ..._typing import Everywhere, Number, PackNames, Pair, Sampling, Seed
from ...ops.deform_roi_pool import deform_roi_pool
from ..checks import no_tensor
from .pointwise import Pooling

if TYPE_CHECKING:  # torch depends on it
    from typing_extensions import Unpack


class DeformRoIPool(Pooling):
    """:func:`roialign.deform_roi_pool` as a module, with offsets given at every call.

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

    def _call_without_rois(self, features: Any, given: dict[str, Any]) -> None:
        super()._call_without_rois(features, {"offset": None, **given})

    if TYPE_CHECKING:

        def __init__(
            self,
            output_size: Pair,
            spatial_scale: Number = 1.0,
            sampling_ratio: Pair = 0,
            gamma: float = 0.1,
            *,
            sampling: Sampling = "grid",
            seed: Seed = None,
            **more: Unpack[Everywhere],
        ) -> None: ...

    def forward(
        self,
        features: Tensor | Sequence[Tensor],
        rois: Tensor | Sequence[Tensor],
        offset: Tensor | None = None,
        mask: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``."""
        return super().forward(features, rois, offset=offset, mask=mask, **more)

    if TYPE_CHECKING:

        def __call__(
            self,
            features: Tensor | Sequence[Tensor],
            rois: Tensor | Sequence[Tensor],
            offset: Tensor | None = None,
            mask: Tensor | None = None,
            **more: Any,
        ) -> Tensor: ...


class DeformRoIPoolPack(DeformRoIPool):
    """Deformable RoI pooling that predicts its offsets from features pooled without offsets.

    Concretely, ``pool(features, rois)`` is ``deform_roi_pool(features, rois, offset, ...)`` with
    ``offset = offset_fc(deform_roi_pool(features, rois, None, ...))``. ``offset_fc`` has three linear layers. The last
    one is initialised with zeros, so an untrained module computes :func:`roialign.roi_align`.

    Parameters
    ----------
    output_size : int or (int, int)
        The number of bins along y and x.
    output_channels : int
        The number of channels of the features.
    deform_fc_channels : int, default 1024
        The width of the hidden layers.
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

    output_size: Pair
    output_channels: int
    deform_fc_channels: int

    def __init__(self, *values: Any, **named: Unpack[PackNames]) -> None:
        options: dict[str, Any] = {**named}
        super().__init__(*values, **options)
        self.bins = _validate.check_output_size(self.output_size)
        output_channels = _validate.check_int(self.output_channels, "output_channels", 1)
        hidden = _validate.check_int(self.deform_fc_channels, "deform_fc_channels", 1)
        bins = math.prod(self.bins)
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

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, features: Tensor, rois: Tensor | Sequence[Tensor], **more: Any
        ) -> Tensor: ...

    def learned(self, features: Tensor, rois: Tensor | Sequence[Tensor], **more: Any) -> tuple[Tensor, Tensor]:
        """The predicted offsets, and the flattened pooled features that they are predicted from."""
        pooled = super().forward(features, rois, **more)
        if isinstance(pooled, np.ndarray):  # the operator accepts arrays, but the linear layers do not
            raise no_tensor(features, "features")
        flat = (pooled if self.arguments.get("layout", "NCHW") == "NCHW" else pooled.permute(0, 3, 1, 2)).flatten(1)
        return self.offset_fc(flat).reshape(-1, 2, *self.bins), flat


class ModulatedDeformRoIPoolPack(DeformRoIPoolPack):
    """Deformable RoI pooling that predicts its offsets and a weight for every bin.

    Concretely, ``pool(features, rois)`` is ``deform_roi_pool(features, rois, offset, ..., mask=mask)``. The offsets are
    those of :class:`DeformRoIPoolPack`. The mask comes from two linear layers and a sigmoid; it is initially 0.5.

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

    def __init__(self, *values: Any, **named: Unpack[PackNames]) -> None:
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
