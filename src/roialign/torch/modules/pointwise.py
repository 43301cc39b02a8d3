"""The pointwise operators as modules."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from ..._typing import Everywhere, Mode, Number, Numbers, Pair, Sampling, Seed
from ...ops.multiscale_roi_align_rotated import multiscale_roi_align_rotated
from ...ops.ps_roi_align import ps_roi_align
from ...ops.ps_roi_pool import ps_roi_pool
from ...ops.riroi_align_rotated import riroi_align_rotated
from ...ops.roi_align_rotated import roi_align_rotated
from ...ops.roi_pool import roi_pool
from .held import bound_arguments
from .separable import Configured

if TYPE_CHECKING:  # torch depends on it
    from typing_extensions import Unpack

#: The arguments of a function that are given at every call.
PER_CALL = ("features", "rois", "offset", "mask", "levels", "batch_indices", "out")


class Pooling(Configured):
    """A module that holds the arguments of a function that do not change from call to call."""

    #: Parameters that the module has in addition to those of its function. They come after the first one.
    own: ClassVar[tuple[inspect.Parameter, ...]] = ()
    #: Parameters of the function that the module does not have.
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
        self.configure(bound_arguments(self, self.__signature__, values, named))

    @property
    def arguments(self) -> dict[str, Any]:
        """The current arguments of the function, by name."""
        own = [parameter.name for parameter in self.own]
        return {name: getattr(self, name) for name in self.names if name not in own}

    def forward(self, features: Tensor | Sequence[Tensor], rois: Tensor | Sequence[Tensor], **more: Any) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``; `more` holds optional arguments."""
        pooled: Tensor = type(self).function(features, rois, **more, **self.arguments)
        return pooled

    if TYPE_CHECKING:

        def __call__(
            self, features: Tensor | Sequence[Tensor], rois: Tensor | Sequence[Tensor], **more: Any
        ) -> Tensor: ...


class RoIAlignRotated(Pooling):
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
    columns = 6

    if TYPE_CHECKING:

        def __init__(
            self,
            output_size: Pair,
            spatial_scale: Number = 1.0,
            sampling_ratio: Pair = 0,
            *,
            aligned: bool = True,
            clockwise: bool = False,
            mode: Mode = "avg",
            sampling: Sampling = "grid",
            seed: Seed = None,
            **more: Unpack[Everywhere],
        ) -> None: ...


class MultiScaleRoIAlignRotated(Pooling):
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
    columns = 6

    if TYPE_CHECKING:

        def __init__(
            self,
            output_size: Pair,
            spatial_scales: Numbers,
            sampling_ratio: Pair = 0,
            *,
            canonical_size: float = 224,
            canonical_level: int = 4,
            aligned: bool = True,
            clockwise: bool = False,
            mode: Mode = "avg",
            sampling: Sampling = "grid",
            seed: Seed = None,
            **more: Unpack[Everywhere],
        ) -> None: ...


class RiRoIAlignRotated(Pooling):
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
    columns = 6

    if TYPE_CHECKING:

        def __init__(
            self,
            output_size: Pair,
            spatial_scale: Number = 1.0,
            sampling_ratio: Pair = 0,
            *,
            num_orientations: int = 8,
            clockwise: bool = False,
            **more: Unpack[Everywhere],
        ) -> None: ...


class PSRoIAlign(Pooling):
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

    if TYPE_CHECKING:

        def __init__(
            self, output_size: Pair, spatial_scale: Number = 1.0, sampling_ratio: Pair = 0, **more: Unpack[Everywhere]
        ) -> None: ...


class PSRoIPool(Pooling):
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

    if TYPE_CHECKING:

        def __init__(self, output_size: Pair, spatial_scale: Number = 1.0, **more: Unpack[Everywhere]) -> None: ...


class RoIPool(Pooling):
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

    if TYPE_CHECKING:

        def __init__(self, output_size: Pair, spatial_scale: Number = 1.0, **more: Unpack[Everywhere]) -> None: ...
