"""Finds the nearest vectors, exactly: by a fast product in float32, and then again in float64 what may be among them.

The answer is defined in float64: a score is the sum of the products of two rows, computed alone, and of equal scores
the one that stands first in the folder comes first. So it depends on no block size, number of threads or instruction
set, and equal vectors have equal scores.
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

#: Half the distance from 1 to the next number of float32.
ROUNDING = 2.0**-24
#: So many rows are scored in float64 at a time.
ROWS_AT_ONCE = 1 << 14
#: A first part of the rotated vectors is long enough with this share of their squared length.
SHARE_OF_LENGTH = 0.93
#: Where more than this share of the axes is needed for that, no part is used.
MOST_AXES = 0.4
#: The rotation is found by so many rows.
SAMPLED_ROWS = 1 << 15


class Nearest(NamedTuple):
    """The nearest regions of each query, the nearest first."""

    positions: Array
    """int64 ``[Q, K]``."""
    scores: Array
    """float64 ``[Q, K]``: cosines, or inner products."""


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
    """The nearest regions of a folder, which is read once from its beginning to its end.

    It takes little memory, however large the folder is. For many searches, :class:`RegionIndex` keeps it in memory.

    Parameters
    ----------
    folder : FeatureFolder
        Where to look.
    queries : ``[Q, C]``
        As :class:`Encoder` gives them.
    top : int, default 10
        How many of each query; fewer where the folder has fewer.
    metric : {"cosine", "inner-product"}
        The cosine of the angle between two vectors, 0 where one of them is zero; or their inner product.
    column : str, optional
        The column of features; by default `vector`, or the first.
    excluded : int64 ``[E]``, optional
        Positions of regions that are not to be found.
    advance : function, optional
        Told of how many more regions have been compared.

    Returns
    -------
    Nearest
        Positions in the folder, and scores. Of equal scores, the region that stands first in the folder comes first.

    Raises
    ------
    TypeError
        For queries that are no real numbers, or a `top` or `excluded` that are no whole numbers.
    ValueError
        For queries of another length than the vectors of the folder, or that are not finite.
    FileError
        If a shard cannot be read, or a feature in it is not finite.
    """
    queries = _checked(queries, metric, top)
    if excluded is not None:
        excluded = _places(excluded, "excluded")
    best = [_Best(top) for _ in queries]
    for block in folder.blocks(column):
        if excluded is not None:
            kept = ~np.isin(block.positions, excluded)
            block = Block(block.positions[kept], block.vectors[kept])
        _check_length(queries, block.vectors)
        squares = _squares(block)
        approximate, slack = _approximate(block.vectors, squares, queries, metric)
        for one, query, scores, own in zip(best, queries, approximate.T, slack, strict=True):
            least = max(one.least, lower_bound(scores, top) - own)
            rows = np.flatnonzero(scores >= least - own)
            one.add(block.positions[rows], exact_scores(block.vectors[rows], query, metric))
        advance(len(block.positions))
    return _answer(best)


class RegionIndex:
    """Vectors in memory, for many searches: exact, and faster than a product with all of them.

    Vectors are rotated so that a first part of them holds most of their length. The product with that part, and the
    lengths of the rest, bound every score from above (Cauchy and Schwarz). Only vectors whose bound reaches the best
    ones found are looked at in full. Where no such part exists, as for random vectors, all of them are.

    Parameters
    ----------
    vectors : float32 ``[N, C]``
        In the order in which equal scores are given; not copied if they are float32 in row order.
    positions : int64 ``[N]``, optional
        What is given back for each; by default 0, 1, 2, ...
    metric : {"cosine", "inner-product"}
        As in :func:`nearest`.

    Raises
    ------
    TypeError
        For vectors that are no real numbers.
    ValueError
        For vectors that are no matrix, or not finite in float32.

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
        if metric == "cosine":  # as if all had the length 1
            self._part *= _inverse(squares)[:, None]
            squares = np.sign(squares)
        self._rest = _rest(squares, self._part, self.vectors.shape[1])
        # For the rounding of a product with a vector of length 1.
        self._slack = (2 * _margin(self.vectors.shape[1]) * np.sqrt(squares)).astype(np.float32)

    @classmethod
    def of_folder(cls, folder: FeatureFolder, *, column: str | None = None, metric: Metric = "cosine") -> RegionIndex:
        """All regions of a folder, by their positions in it."""
        positions, vectors = zip(*folder.blocks(column), strict=True)
        return cls(np.concatenate(vectors), np.concatenate(positions), metric=metric)

    @property
    def axes(self) -> int:
        """How many numbers the first part of a vector has; 0 where none is used."""
        return int(self._axes.shape[1])

    def search(self, queries: Array, top: int = 10) -> Nearest:
        """The nearest vectors of each query ``[Q, C]``; see :func:`nearest`."""
        queries = _checked(queries, self.metric, top)
        _check_length(queries, self.vectors)
        return _answer([self._search(query, top) for query in queries])

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
        """The rows whose score for a query ``[C]`` may be among the best, by its bound from above."""
        length = float(np.linalg.norm(query.astype(np.float64))) or 1.0
        unit = (query / length).astype(np.float32)
        part = unit @ self._axes
        rest = _rest(np.ones(1), part[None], len(query))[0]
        products = self._part @ part
        likely = np.flatnonzero(products >= lower_bound(products, top))
        scores = exact_scores(self.vectors[likely], query, self.metric)
        least = np.partition(scores, -top)[-top] if len(scores) > top else scores.min()
        # What the rest adds to a product is at most this.
        bound = self._rest * rest
        bound += self._slack
        bound += products
        rows: Array = np.flatnonzero(bound >= np.float32(least if self.metric == "cosine" else least / length))
        return rows


class _Best:
    """The best of what has been seen for one query."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.positions: Array = np.zeros(0, dtype=np.int64)
        self.scores: Array = np.zeros(0, dtype=np.float64)

    @property
    def least(self) -> float:
        """What a score must reach to be among them."""
        return float(self.scores[-1]) if len(self.scores) == self._count else -np.inf

    def add(self, positions: Array, scores: Array) -> None:
        positions, scores = np.concatenate([self.positions, positions]), np.concatenate([self.scores, scores])
        order = np.lexsort([positions, -scores])[: self._count]
        self.positions, self.scores = positions[order], scores[order]


def _answer(best: list[_Best]) -> Nearest:
    return Nearest(np.stack([one.positions for one in best]), np.stack([one.scores for one in best]))


def exact_scores(vectors: Array, query: Array, metric: Metric) -> Array:
    """float64 ``[K]``: every row is scored alone, so that equal rows have equal scores wherever they stand."""
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
    """A number that at least `top` of the scores reach, and not many more; minus infinity where there are fewer."""
    if len(scores) < top:
        return -np.inf
    groups = max(8 * top, 1024)
    size = len(scores) // groups
    best = scores if size < 2 else scores[: size * groups].reshape(groups, size).max(axis=1)
    return float(np.partition(best, -top)[-top])


def _approximate(vectors: Array, squares: Array, queries: Array, metric: Metric) -> tuple[Array, Array]:
    """Scores ``[N, Q]`` by a product in float32, and how far each query's may be from the exact ones, ``[Q]``."""
    lengths = np.sqrt((queries.astype(np.float64) ** 2).sum(axis=1))
    lengths[lengths == 0] = 1
    # Of queries of length 1, so that no product is too large or too small for float32.
    scores = vectors @ (queries / lengths[:, None]).astype(np.float32).T
    margin = _margin(vectors.shape[1])
    if metric == "inner-product":
        return scores * lengths, margin * lengths * np.sqrt(squares.max(initial=0.0))
    scores *= _inverse(squares)[:, None]
    return scores, np.full(len(queries), margin)


def _near_best(vectors: Array, squares: Array, query: Array, top: int, metric: Metric) -> Array:
    """The rows that may be among the best, by their scores in float32."""
    approximate, slack = _approximate(vectors, squares, query[None], metric)
    scores = approximate[:, 0]
    rows: Array = np.flatnonzero(scores >= lower_bound(scores, top) - 2 * slack[0])
    return rows


def _inverse(squares: Array) -> Array:
    """float32 ``[N]``: 1 over the lengths, and 0 for vectors that are zero."""
    inverse: Array = np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0).astype(np.float32)
    return inverse


def _margin(length: int) -> float:
    """How far a product of float32 vectors of length 1 may be from the exact one, in any order of its sum."""
    return 2 * (length + 16) * ROUNDING


def _axes(vectors: Array) -> Array:
    """float32 ``[C, D]``: orthogonal axes that hold most of the length of the vectors; D is 0 where too many would."""
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
    """float32 ``[N]``: the lengths of what is outside the first part, never less than they are."""
    held = np.einsum("nd,nd->n", part, part, dtype=np.float64)
    rest: Array = np.sqrt(np.maximum(squares - held, 0.0) + 2 * _margin(length) * squares).astype(np.float32)
    return rest


def _squares(block: Block) -> Array:
    """float64 ``[N]``: squared lengths.

    Raises
    ------
    ValueError
        If one is not finite.
    """
    squares: Array = np.einsum("nc,nc->n", block.vectors, block.vectors, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(squares))
    if len(wrong):
        raise ValueError(f"vectors: expected finite numbers, row {wrong[0]} has others")
    return squares


def _places(values: object, name: str) -> Array:
    """Positions as int64."""
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
            raise ValueError(f"queries: expected finite numbers, row {row} has others")
        if not length and metric == "cosine":
            raise ValueError(f"queries: row {row} is zero, so it has no cosine; --metric inner-product takes it")
    return queries


def _matrix(values: object, name: str, shape: str) -> Array:
    """Numbers as a float32 matrix in row order; one that float32 cannot hold becomes infinite.

    Raises
    ------
    TypeError
        For what is no array of real numbers.
    ValueError
        For another number of axes.
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


def _check_length(queries: Array, vectors: Array) -> None:
    if queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries: expected vectors of {vectors.shape[1]} numbers, got {queries.shape[1]}")
