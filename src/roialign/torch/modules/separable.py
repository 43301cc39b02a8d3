"""The separable operators as modules. Arguments that do not change between calls are set once and shown by `repr`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import _validate
from ..._levels import Assignment, check_assignment
from ..._typing import Backend, Interpolation, Invalid, Layout, Mode, Number, Numbers, Pair, Sampling, Seed
from ..._warnings import without_warnings
from ...ops.crop_and_resize import crop_and_resize
from ...ops.multiscale_roi_align import multiscale_roi_align
from ...ops.prroi_pool import prroi_pool
from ...ops.roi_align import roi_align
from ..backends import check_known_backend
from .scripting import NotScriptable


class Configured(NotScriptable):
    """A module that holds arguments of a function, as attributes of the same names."""

    function: ClassVar[Callable[..., Any]]
    #: The number of columns of its rows of RoIs.
    columns: ClassVar[int] = 5

    def configure(self, given: dict[str, Any]) -> None:
        """Set the attributes from the local variables of `__init__`."""
        self.names = tuple(name for name in given if name not in ("self", "__class__"))
        for name in self.names:
            setattr(self, name, given[name])
        Configured._check(self)

    def _check(self) -> None:
        """Raise the errors of a call that do not depend on its tensors, by a call for no RoIs on a map of no channels.

        The arrays are NumPy's, which the modes and transforms of torch do not change. Code that is being compiled
        checks when it runs.
        """
        if torch.compiler.is_compiling():
            return
        given = self.arguments
        check_known_backend(given.pop("backend", None))
        if isinstance(given.get("seed"), (torch.Generator, np.random.Generator)):
            del given["seed"]  # a call would draw from it
        features: Any = np.zeros((1, 1, 1, 0) if given.get("layout") == "NHWC" else (1, 0, 1, 1))
        if "spatial_scales" in given:
            scales = _validate.check_scales(given["spatial_scales"])
            rule = given.get("canonical_size", 224), given.get("canonical_level", 4)
            check_assignment(scales[:1], Assignment(*rule))
            # Scales in any order are allowed for calls with levels.
            features, given["levels"] = [features] * len(scales), np.zeros(0, dtype=np.int64)
        with without_warnings():  # a call warns
            self._call_without_rois(features, given)

    def _call_without_rois(self, features: Any, given: dict[str, Any]) -> None:
        type(self).function(features, np.zeros((0, self.columns)), **given)

    @property
    def arguments(self) -> dict[str, Any]:
        """The current arguments, by name."""
        return {name: getattr(self, name) for name in self.names}

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        parameters = inspect.signature(type(self).function).parameters
        shown = [f"{name}={value!r}" for name, value in self.arguments.items() if value != parameters[name].default]
        return ", ".join(shown)


class RoIAlign(Configured):
    """:func:`roialign.roi_align` as a module.

    Concretely, ``RoIAlign(output_size, spatial_scale, sampling_ratio, ...)(features, rois)`` is
    ``roi_align(features, rois, output_size, spatial_scale, sampling_ratio, ...)``.

    Parameters
    ----------
    output_size, spatial_scale, sampling_ratio, aligned, mode, sampling, layout, invalid, seed, backend :
        As in :func:`roialign.roi_align`.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import RoIAlign
    >>> pool = RoIAlign(7, 1 / 16, sampling="exact")
    >>> pool
    RoIAlign(output_size=7, spatial_scale=0.0625, sampling='exact')
    >>> boxes = [torch.tensor([[32.0, 48.0, 410.0, 300.0]]), torch.zeros(0, 4)]
    >>> pool(torch.rand(2, 256, 50, 84), boxes).shape
    torch.Size([1, 256, 7, 7])
    """

    function = staticmethod(roi_align)

    def __init__(
        self,
        output_size: Pair,
        spatial_scale: Number = 1.0,
        sampling_ratio: Pair = 0,
        *,
        aligned: bool = True,
        mode: Mode = "avg",
        sampling: Sampling = "grid",
        layout: Layout = "NCHW",
        invalid: Invalid | None = None,
        seed: Seed = None,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        self.configure(locals())

    def forward(self, features: Tensor, rois: Tensor | Sequence[Tensor], batch_indices: Tensor | None = None) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``."""
        pooled: Tensor = roi_align(features, rois, batch_indices=batch_indices, **self.arguments)
        return pooled

    if TYPE_CHECKING:

        def __call__(
            self, features: Tensor, rois: Tensor | Sequence[Tensor], *, batch_indices: Tensor | None = None
        ) -> Tensor: ...


class MultiScaleRoIAlign(Configured):
    """:func:`roialign.multiscale_roi_align` as a module.

    Concretely, ``MultiScaleRoIAlign(output_size, spatial_scales, ...)(features, rois)`` is
    ``multiscale_roi_align(features, rois, output_size, spatial_scales, ...)``.

    Parameters
    ----------
    output_size, spatial_scales, sampling_ratio, canonical_size, canonical_level, aligned, mode, sampling, layout,
    invalid, seed, backend : As in :func:`roialign.multiscale_roi_align`.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import MultiScaleRoIAlign
    >>> pool = MultiScaleRoIAlign(7, [1 / 4, 1 / 8], sampling_ratio=2)
    >>> pool
    MultiScaleRoIAlign(output_size=7, spatial_scales=[0.25, 0.125], sampling_ratio=2)
    >>> pyramid = [torch.ones(1, 8, 64, 64), 2 * torch.ones(1, 8, 32, 32)]
    >>> pool(pyramid, torch.tensor([[0, 16.0, 16.0, 48.0, 48.0], [0, 0.0, 0.0, 250.0, 250.0]])).mean(dim=(1, 2, 3))
    tensor([1., 2.])
    """

    function = staticmethod(multiscale_roi_align)

    def __init__(
        self,
        output_size: Pair,
        spatial_scales: Numbers,
        sampling_ratio: Pair = 0,
        *,
        canonical_size: float = 224,
        canonical_level: int = 4,
        aligned: bool = True,
        mode: Mode = "avg",
        sampling: Sampling = "grid",
        layout: Layout = "NCHW",
        invalid: Invalid | None = None,
        seed: Seed = None,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        self.configure(locals())

    def forward(
        self,
        features: Sequence[Tensor],
        rois: Tensor | Sequence[Tensor],
        levels: Tensor | None = None,
        batch_indices: Tensor | None = None,
    ) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``."""
        pooled: Tensor = multiscale_roi_align(
            features, rois, levels=levels, batch_indices=batch_indices, **self.arguments
        )
        return pooled

    if TYPE_CHECKING:

        def __call__(
            self,
            features: Sequence[Tensor],
            rois: Tensor | Sequence[Tensor],
            *,
            levels: Tensor | None = None,
            batch_indices: Tensor | None = None,
        ) -> Tensor: ...


class PrRoIPool(Configured):
    """:func:`roialign.prroi_pool` as a module.

    Concretely, ``PrRoIPool(output_size, spatial_scale, ...)(features, rois)`` is
    ``prroi_pool(features, rois, output_size, spatial_scale, ...)``.

    Parameters
    ----------
    output_size, spatial_scale, layout, invalid, backend : As in :func:`roialign.prroi_pool`.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import PrRoIPool
    >>> PrRoIPool(1)(torch.ones(1, 1, 1, 1), torch.tensor([[0, 0.0, 0.0, 1.0, 1.0]]))
    tensor([[[[0.2500]]]])
    """

    function = staticmethod(prroi_pool)

    def __init__(
        self,
        output_size: Pair,
        spatial_scale: Number = 1.0,
        *,
        layout: Layout = "NCHW",
        invalid: Invalid | None = None,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        self.configure(locals())

    def forward(self, features: Tensor, rois: Tensor | Sequence[Tensor], batch_indices: Tensor | None = None) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``."""
        pooled: Tensor = prroi_pool(features, rois, batch_indices=batch_indices, **self.arguments)
        return pooled

    if TYPE_CHECKING:

        def __call__(
            self, features: Tensor, rois: Tensor | Sequence[Tensor], *, batch_indices: Tensor | None = None
        ) -> Tensor: ...


class CropAndResize(Configured):
    """:func:`roialign.crop_and_resize` as a module.

    Concretely, ``CropAndResize(crop_size, ...)(features, boxes, box_indices)`` is
    ``crop_and_resize(features, boxes, box_indices, crop_size, ...)``.

    Parameters
    ----------
    crop_size, method, extrapolation_value, layout, invalid, backend :
        As in :func:`roialign.crop_and_resize`. The default layout is NHWC.

    Examples
    --------
    >>> import torch
    >>> from roialign.torch import CropAndResize
    >>> image = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).reshape(1, 1, 2, 2)
    >>> CropAndResize((1, 3), layout="NCHW")(image, torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.tensor([0]))
    tensor([[[[1.0000, 0.5000, 0.0000]]]])
    """

    function = staticmethod(crop_and_resize)

    def __init__(
        self,
        crop_size: Pair,
        method: Interpolation = "bilinear",
        extrapolation_value: float = 0.0,
        *,
        layout: Layout = "NHWC",
        invalid: Invalid | None = None,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        self.configure(locals())

    def _call_without_rois(self, features: Any, given: dict[str, Any]) -> None:
        crop_and_resize(features, np.zeros((0, 4)), np.zeros(0, dtype=np.int64), **given)

    def forward(self, features: Tensor, boxes: Tensor, box_indices: Tensor) -> Tensor:
        """``[K, CH, CW, C]``, or ``[K, C, CH, CW]`` with ``layout="NCHW"``."""
        pooled: Tensor = crop_and_resize(features, boxes, box_indices, **self.arguments)
        return pooled

    if TYPE_CHECKING:

        def __call__(self, features: Tensor, boxes: Tensor, box_indices: Tensor) -> Tensor: ...
