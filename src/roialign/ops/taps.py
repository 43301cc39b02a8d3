"""The taps of one axis as a matrix, to look at and to test with."""

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
    """What every pixel of one axis weighs in every bin of a RoI: the matrix that a separable operator applies.

    Mean pooling over an axis-aligned RoI factors over the axes, ``out = Wy . F . Wx^T``. Concretely, ``out[i, p]`` is
    the weight of pixel p in bin i of a RoI that covers ``[start, start + length]`` of an axis with `size` pixels.

    Parameters
    ----------
    size : int
        Pixels of the axis; their centres lie on 0 .. size - 1.
    start, length : float
        The RoI on this axis in feature pixels, scaled and shifted already. A negative length is an inverted RoI.
    bins : int
        Bins that the RoI is cut into.
    sampling_ratio : int, default 0
        Points per bin for the rules "grid" and "random"; 0 or -1 is adaptive, ``ceil(length / bins)``.
    rule : "grid" (default), "random", "exact", "prroi", "crop" or "nearest"
        How points are chosen and what lies beyond the map: the first three as in :func:`roi_align`, the others as in
        :func:`prroi_pool` and :func:`crop_and_resize`, bilinear or nearest.
    derivative : (int, int), default (0, 0)
        Order of the derivative in (start, length); their sum is at most 2.
    seed : int, default 0
        For the rule "random"; the points are those of RoI row 0 along y.
    backend : "cpu" (default) or "reference"

    Returns
    -------
    float64 array ``[bins, size]``

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was expected and what came.

    Examples
    --------
    One bin from 0.5 to 2.5, by two points and exactly:

    >>> import roialign
    >>> roialign.taps(4, 0.5, 2.0, 1, sampling_ratio=2)
    array([[0. , 0.5, 0.5, 0. ]])
    >>> roialign.taps(4, 0.5, 2.0, 1, rule="exact")
    array([[0.0625, 0.4375, 0.4375, 0.0625]])
    """
    _validate.check_choice(rule, "rule", tuple(BORDER_OF_RULE))
    count, cut = _validate.check_int(size, "size", 1), _validate.check_int(bins, "bins", 1)
    ratio = max(_validate.check_int(sampling_ratio, "sampling_ratio", -1, _validate.LARGEST_SAMPLING_RATIO), 0)
    order = _validate.check_pair(derivative, "derivative", 0, 2)
    if sum(order) > 2:
        raise ValueError(f"derivative: expected orders in (start, length) that sum to at most 2, got {derivative!r}")
    begin, extent = _validate.check_number(start, "start"), _validate.check_number(length, "length")
    if max(abs(begin), abs(extent)) > _validate.LARGEST_COORDINATE:
        raise ValueError(f"start, length: expected magnitudes up to 1e100, got {begin} and {extent}")
    key = _validate.check_seed(seed, drawn=False)
    matrix: Array = (
        framework_of()
        .backends.backend_for("separable", backend)
        .taps(count, begin, extent, cut, ratio, rule, derivative=order, seed=key)
    )
    return matrix
