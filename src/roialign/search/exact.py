"""Finds the nearest vectors exactly: candidates by a fast product in float32, and then their scores in float64.

The result is defined in float64. Each score is the sum of the products of two rows, computed independently of other
rows. Equal scores are ordered by their position in the folder. Therefore, the result does not depend on the block size,
the number of threads or the instruction set, and equal vectors have equal scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from .. import _validate
from .._typing import Array
from .folders import Block, FeatureFolder

Metric: TypeAlias = Literal["cosine", "inner-product"]
METRICS: tuple[Metric, ...] = ("cosine", "inner-product")

#: The unit roundoff of float32: half the distance from 1 to the next number.
ROUNDING = 2.0**-24
#: The number of rows to score in float64 at a time.
ROWS_AT_ONCE = 1 << 14
#: The share of the squared length that the first part of the rotated vectors must contain.
SHARE_OF_LENGTH = 0.93
#: The largest share of the axes that the first part may have. If more are needed, no part is used.
MOST_AXES = 0.4
#: The approximate number of rows from which the rotation is computed.
SAMPLED_ROWS = 1 << 15


class ZeroQueryError(ValueError):
    """A query vector is zero, so its cosine is undefined."""

    def __init__(self, row: int) -> None:
        self.row = row
        super().__init__(f"queries: row {row} is zero, so its cosine is undefined; use the metric inner-product")


class Nearest(NamedTuple):
    """The nearest regions of each query, nearest first."""

    positions: Array
    """Int64 ``[Q, K]``: positions in the folder or the index."""
    scores: Array
    """Float64 ``[Q, K]``: cosines or inner products."""


def nearest(
    folder: FeatureFolder,
    queries: Array,
    top: int = 10,
    *,
    metric: Metric = "cosine",
    column: str | None = None,
    excluded: Array | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Nearest:
    """Find the nearest regions of a folder in a single pass over it.

    The memory needed does not depend on the size of the folder. For many searches, use :class:`RegionIndex`, which
    keeps the folder in memory.

    Parameters
    ----------
    folder : FeatureFolder
        The folder to search.
    queries : ``[Q, C]``
        The query vectors, from :class:`Encoder`.
    top : int, default 10
        The number of regions to find for each query. If the folder has fewer, all are returned.
    metric : {"cosine", "inner-product"}
        The cosine of the angle between two vectors, which is 0 if one of them is zero, or their inner product.
    column : str, optional
        The feature column. The default is `vector`, or else the first column.
    excluded : int64 ``[E]``, optional
        The positions of regions to leave out.
    advance : function, optional
        Called with the number of regions compared since the last call.

    Returns
    -------
    Nearest
        Positions and scores. Equal scores are ordered by their position.

    Raises
    ------
    TypeError
        If the queries are not real numbers, or `top` or `excluded` are not integers.
    ValueError
        If the queries are not finite, or zero for the cosine, or if their length differs from that of the vectors of
        the folder.
    FileError
        If a shard cannot be read, or a feature in it is not finite.
    """
    queries = _checked(queries, metric, top)
    _check_length(queries, folder.channels(column))
    if excluded is not None:
        excluded = _places(excluded, "excluded")
    best = [_Best(top) for _ in queries]
    for block in folder.blocks(column):
        if excluded is not None:
            kept = ~np.isin(block.positions, excluded)
            block = Block(block.positions[kept], block.vectors[kept])
        squares = _squares(block)
        approximate, slack = _approximate(block.vectors, squares, queries, metric)
        for one, query, scores, own in zip(best, queries, approximate.T, slack, strict=True):
            least = max(one.least, lower_bound(scores, top) - own)
            rows = np.flatnonzero(scores >= least - own)
            one.add(block.positions[rows], exact_scores(block.vectors[rows], query, metric))
        advance(len(block.positions))
    return _stacked(best)


class RegionIndex:
    """An index of vectors in memory for many exact searches, faster than a product with all vectors.

    The vectors are rotated so that their first components contain most of their length. By the Cauchy-Schwarz
    inequality, the product of the first components and the lengths of the remaining parts give an upper bound of every
    score. Full scores are computed only for vectors whose bound reaches the best scores found. If a few components do
    not contain most of the length, as for random vectors, all scores are computed.

    Parameters
    ----------
    vectors : float32 ``[N, C]``
        The vectors. They are not copied if they are float32 and C-contiguous.
    positions : int64 ``[N]``, optional
        The positions to return, which also order equal scores. The default is 0, 1, 2, ...
    metric : {"cosine", "inner-product"}
        As in :func:`nearest`.

    Raises
    ------
    TypeError
        If the vectors are not real numbers.
    ValueError
        If the vectors are not a matrix, or not finite in float32.

    Examples
    --------
    >>> import numpy as np
    >>> from roialign.search import RegionIndex
    >>> index = RegionIndex(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    >>> index.search(np.array([[3.0, 4.0]]), top=3)
    Nearest(positions=array([[1, 0, 2]]), scores=array([[0.8, 0.6, 0.6]]))
    """

    def __init__(self, vectors: Array, positions: Array | None = None, *, metric: Metric = "cosine") -> None:
        self.vectors = vectors = _matrix(vectors, "vectors", "[N, C]")
        self.positions = np.arange(len(vectors)) if positions is None else _places(positions, "positions")
        if self.positions.shape != (len(vectors),):
            raise ValueError(f"positions: expected one for each of {len(vectors)} vectors, got {self.positions.shape}")
        self.metric: Metric = _checked_metric(metric)
        self._squares = _squares(Block(self.positions, self.vectors))
        self._axes = _axes(self.vectors)
        self._part = self.vectors @ self._axes
        squares = self._squares
        if metric == "cosine":  # normalise to length 1
            self._part *= _inverse(squares)[:, None]
            squares = np.sign(squares)
        self._rest = _rest(squares, self._part, self.vectors.shape[1])
        # A bound of the rounding error of a product with a vector of length 1.
        self._slack = (2 * _margin(self.vectors.shape[1]) * np.sqrt(squares)).astype(np.float32)

    @classmethod
    def of_folder(cls, folder: FeatureFolder, *, column: str | None = None, metric: Metric = "cosine") -> RegionIndex:
        """Create an index of all regions of a folder, with their positions in the folder."""
        blocks = [
            Block(np.zeros(0, np.int64), np.zeros((0, folder.channels(column)), np.float32))
        ]  # if there is no other
        blocks += folder.blocks(column)
        positions, vectors = map(np.concatenate, zip(*blocks, strict=True))
        return cls(vectors, positions, metric=metric)

    @property
    def axes(self) -> int:
        """The number of components of the first part; 0 if it is not used."""
        return int(self._axes.shape[1])

    def search(self, queries: Array, top: int = 10) -> Nearest:
        """Find the nearest vectors of each query ``[Q, C]``; see :func:`nearest`."""
        queries = _checked(queries, self.metric, top)
        _check_length(queries, self.vectors.shape[1])
        return _stacked([self._search(query, top) for query in queries])

    def _search(self, query: Array, top: int) -> _Best:
        best = _Best(top)
        if not len(self.vectors):
            return best
        if self._axes.shape[1]:
            rows = self.candidates(query, top)
            vectors, squares = self.vectors[rows], self._squares[rows]
            rows = rows[_near_best(vectors, squares, query, top, self.metric)]
        else:
            rows = _near_best(self.vectors, self._squares, query, top, self.metric)
        best.add(self.positions[rows], exact_scores(self.vectors[rows], query, self.metric))
        return best

    def candidates(self, query: Array, top: int) -> Array:
        """Return the rows whose upper bound of the score for a query ``[C]`` reaches the best scores."""
        length = float(np.linalg.norm(query.astype(np.float64))) or 1.0
        unit = (query / length).astype(np.float32)
        part = unit @ self._axes
        rest = _rest(np.ones(1), part[None], len(query))[0]
        products = self._part @ part
        likely = np.flatnonzero(products >= lower_bound(products, top))
        scores = exact_scores(self.vectors[likely], query, self.metric)
        least = np.partition(scores, -top)[-top] if len(scores) > top else scores.min()
        # The upper bound of what the remaining components add to a product.
        bound = self._rest * rest
        bound += self._slack
        bound += products
        rows: Array = np.flatnonzero(bound >= np.float32(least if self.metric == "cosine" else least / length))
        return rows


class _Best:
    """The best regions found so far for one query."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.positions: Array = np.zeros(0, dtype=np.int64)
        self.scores: Array = np.zeros(0, dtype=np.float64)

    @property
    def least(self) -> float:
        """The score that a region must reach to be added."""
        return float(self.scores[-1]) if len(self.scores) == self._count else -np.inf

    def add(self, positions: Array, scores: Array) -> None:
        positions, scores = np.concatenate([self.positions, positions]), np.concatenate([self.scores, scores])
        order = np.lexsort([positions, -scores])[: self._count]
        self.positions, self.scores = positions[order], scores[order]


def _stacked(best: list[_Best]) -> Nearest:
    return Nearest(np.stack([one.positions for one in best]), np.stack([one.scores for one in best]))


def exact_scores(vectors: Array, query: Array, metric: Metric) -> Array:
    """Compute the scores, float64 ``[K]``, of each row independently, so that equal rows have equal scores."""
    wide = query.astype(np.float64)
    found = [np.zeros(0, dtype=np.float64)]
    for first in range(0, len(vectors), ROWS_AT_ONCE):
        rows = vectors[first : first + ROWS_AT_ONCE].astype(np.float64)
        scores = (rows * wide).sum(axis=1)
        if metric == "cosine":
            lengths = np.sqrt((rows * rows).sum(axis=1) * (wide * wide).sum())
            scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
        found.append(scores)
    return np.concatenate(found)


def lower_bound(scores: Array, top: int) -> float:
    """Return a number that at least `top` scores reach, and not many more; minus infinity if there are fewer."""
    if len(scores) < top:
        return -np.inf
    groups = max(8 * top, 1024)
    size = len(scores) // groups
    best = scores if size < 2 else scores[: size * groups].reshape(groups, size).max(axis=1)
    return float(np.partition(best, -top)[-top])


def _approximate(vectors: Array, squares: Array, queries: Array, metric: Metric) -> tuple[Array, Array]:
    """Compute scores ``[N, Q]`` in float32, and a bound of their error for each query, ``[Q]``."""
    lengths = np.sqrt((queries.astype(np.float64) ** 2).sum(axis=1))
    lengths[lengths == 0] = 1
    # Queries are scaled to length 1, so that no product overflows or underflows in float32.
    scores = vectors @ (queries / lengths[:, None]).astype(np.float32).T
    margin = _margin(vectors.shape[1])
    if metric == "inner-product":
        return scores * lengths, margin * lengths * np.sqrt(squares.max(initial=0.0))
    scores *= _inverse(squares)[:, None]
    return scores, np.full(len(queries), margin)


def _near_best(vectors: Array, squares: Array, query: Array, top: int, metric: Metric) -> Array:
    """Return the rows that may be among the best, according to their scores in float32."""
    approximate, slack = _approximate(vectors, squares, query[None], metric)
    scores = approximate[:, 0]
    rows: Array = np.flatnonzero(scores >= lower_bound(scores, top) - 2 * slack[0])
    return rows


def _inverse(squares: Array) -> Array:
    """Return the reciprocals of the lengths, float32 ``[N]``, and 0 for zero vectors."""
    inverse: Array = np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0).astype(np.float32)
    return inverse


def _margin(length: int) -> float:
    """Return a bound of the error of a product of float32 vectors of length 1, for any order of summation."""
    return 2 * (length + 16) * ROUNDING


def _axes(vectors: Array) -> Array:
    """Return orthogonal axes, float32 ``[C, D]``, that contain most of the length of the vectors.

    D is 0 if more than `MOST_AXES` of the axes would be needed.
    """
    count = vectors.shape[1]
    sample = vectors[:: max(len(vectors) // SAMPLED_ROWS, 1)].astype(np.float64)
    lengths = np.linalg.norm(sample, axis=1, keepdims=True)
    sample = np.divide(sample, lengths, out=np.zeros_like(sample), where=lengths > 0)
    shares, axes = np.linalg.eigh(sample.T @ sample)
    held = np.cumsum(shares[::-1]) / max(float(shares.sum()), np.finfo(np.float64).tiny)
    needed = int(np.searchsorted(held, SHARE_OF_LENGTH)) + 1
    needed = needed if needed <= MOST_AXES * count else 0
    return np.ascontiguousarray(axes[:, ::-1][:, :needed], dtype=np.float32)


def _rest(squares: Array, part: Array, length: int) -> Array:
    """Return upper bounds of the lengths of the remaining parts, float32 ``[N]``."""
    held = np.einsum("nd,nd->n", part, part, dtype=np.float64)
    rest: Array = np.sqrt(np.maximum(squares - held, 0.0) + 2 * _margin(length) * squares).astype(np.float32)
    return rest


def _squares(block: Block) -> Array:
    """Return the squared lengths, float64 ``[N]``.

    Raises
    ------
    ValueError
        If one is not finite.
    """
    squares: Array = np.einsum("nc,nc->n", block.vectors, block.vectors, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(squares))
    if len(wrong):
        raise ValueError(f"vectors: expected finite numbers, got NaN or infinity in row {wrong[0]}")
    return squares


def _places(values: object, name: str) -> Array:
    """Convert positions to int64."""
    array = np.asarray(values)
    if array.dtype.kind not in "ui" and array.size:
        raise TypeError(f"{name}: expected whole numbers, got {array.dtype}")
    return array.astype(np.int64)


def _checked_metric(metric: Metric) -> Metric:
    if metric not in METRICS:
        raise ValueError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    return metric


def _checked(queries: Array, metric: Metric, top: int) -> Array:
    _checked_metric(metric)
    queries = _matrix(queries, "queries", "[Q, C]")
    if not len(queries):
        raise ValueError(f"queries: expected [Q, C], got shape {list(queries.shape)}")
    _validate.check_int(top, "top", 1)
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    for row, length in enumerate(lengths):
        if not np.isfinite(length):
            raise ValueError(f"queries: expected finite numbers, got NaN or infinity in row {row}")
        if not length and metric == "cosine":
            raise ZeroQueryError(row)
    return queries


def _matrix(values: object, name: str, shape: str) -> Array:
    """Convert numbers to a C-contiguous float32 matrix. Numbers too large for float32 become infinite.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If the array does not have two axes.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: expected {shape}, got rows of different lengths") from error
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"{name}: expected {shape}, got shape {list(array.shape)}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _check_length(queries: Array, channels: int) -> None:
    if queries.shape[1] != channels:
        raise ValueError(f"queries: expected vectors of {channels} numbers, got {queries.shape[1]}")
