"""The sampling weights of one axis as a matrix, for inspection and tests."""

from __future__ import annotations

from .. import _validate
from .._frameworks import framework_of
from .._spec import BORDER_OF_RULE, Rule
from .._typing import Array, Backend


def taps(
    size: int,
    start: float,
    length: float,
    bins: int,
    sampling_ratio: int = 0,
    rule: Rule = "grid",
    *,
    derivative: tuple[int, int] = (0, 0),
    seed: int = 0,
    backend: Backend | None = None,
) -> Array:
    """The weight of every pixel of one axis in every bin of a RoI.

    Mean pooling over an axis-aligned RoI is separable: ``out = Wy . F . Wx^T``. This function returns such a matrix W.
    Concretely, ``out[i, p]`` is the weight of pixel p in bin i of a RoI that covers ``[start, start + length]`` of an
    axis with `size` pixels.

    Parameters
    ----------
    size : int
        The number of pixels of the axis. Their centres are at 0 .. size - 1.
    start, length : float
        The RoI on this axis in feature pixels, after scaling and shifting. A negative length means an inverted RoI.
    bins : int
        The number of bins that the RoI is divided into.
    sampling_ratio : int, default 0
        Sample points per bin for the rules "grid" and "random". 0 or -1 is adaptive: ``ceil(length / bins)`` points.
    rule : "grid" (default), "random", "exact", "prroi", "crop" or "nearest"
        How the points are chosen, and the border rule. The first three are as in :func:`roi_align`, "prroi" is as in
        :func:`prroi_pool`, and "crop" and "nearest" are the bilinear and nearest methods of :func:`crop_and_resize`.
    derivative : (int, int), default (0, 0)
        The order of the derivative with respect to `start` and to `length`. Their sum is at most 2.
    seed : int, default 0
        The seed of the rule "random". The points are those of RoI row 0 along y.
    backend : "cpu" (default) or "reference"
        The compiled core, or the specification in NumPy.

    Returns
    -------
    float64 array ``[bins, size]``

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument, what was expected and what was given.

    Examples
    --------
    One bin from 0.5 to 2.5, with two points and with exact sampling:

    >>> import roialign
    >>> roialign.taps(4, 0.5, 2.0, 1, sampling_ratio=2)
    array([[0. , 0.5, 0.5, 0. ]])
    >>> roialign.taps(4, 0.5, 2.0, 1, rule="exact")
    array([[0.0625, 0.4375, 0.4375, 0.0625]])

    References
    ----------
    He, Gkioxari, Dollar, Girshick, "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870 (RoIAlign); Jiang, Luo,
    Mao, Xiao, Jiang, "Acquisition of Localization Confidence for Accurate Object Detection", ECCV 2018,
    https://arxiv.org/abs/1807.11590 (PrRoIPool); TensorFlow, "tf.image.crop_and_resize",
    https://www.tensorflow.org/api_docs/python/tf/image/crop_and_resize
    """
    _validate.check_choice(rule, "rule", tuple(BORDER_OF_RULE))
    count, cut = _validate.check_int(size, "size", 1), _validate.check_int(bins, "bins", 1)
    ratio = max(_validate.check_int(sampling_ratio, "sampling_ratio", -1, _validate.LARGEST_SAMPLING_RATIO), 0)
    order = _validate.check_pair(derivative, "derivative", 0, 2)
    if sum(order) > 2:
        raise ValueError(f"derivative: expected orders of (start, length) with a sum of at most 2, got {derivative!r}")
    begin, extent = _validate.check_number(start, "start"), _validate.check_number(length, "length")
    if max(abs(begin), abs(extent)) > _validate.LARGEST_COORDINATE:
        raise ValueError(f"start, length: expected magnitudes of at most 1e100, got {begin} and {extent}")
    key = _validate.check_seed(seed, drawn=False)
    matrix: Array = (
        framework_of()
        .backends.backend_for("separable", backend)
        .taps(count, begin, extent, cut, ratio, rule, derivative=order, seed=key)
    )
    return matrix
