"""The nearest vectors: the same as a product in float64 with all of them, in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roialign.features.manifest_checks import VERSION
from roialign.features.records import Origin
from roialign.features.writing import Columns, Format, write_shard
from roialign.search import FeatureFolder, RegionIndex, nearest
from roialign.search.exact import METRICS, Metric
from roialign.search.folders import ROWS_PER_SHARD


def brute_force(vectors: np.ndarray, query: np.ndarray, top: int, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """All scores in float64, sorted; of equal ones the first row first."""
    wide, one = vectors.astype(np.float64), query.astype(np.float32).astype(np.float64)
    scores = np.array([float((row * one).sum()) for row in wide])
    if metric == "cosine":
        lengths = np.sqrt((wide * wide).sum(axis=1) * (one * one).sum())
        scores = np.array([score / length if length else 0.0 for score, length in zip(scores, lengths, strict=True)])
    order = np.argsort(-scores, kind="stable")[:top]
    return order, scores[order]


def clusters(random: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Vectors as features are: a few directions hold most of them, some are equal, and some are zero."""
    centres = random.uniform(0, 1, (7, length)) * random.exponential(1, length) ** 3
    vectors = centres[random.integers(0, 7, count)] + random.normal(0, 0.05, (count, length))
    vectors[random.integers(0, count, count // 5)] = vectors[0]
    vectors[random.integers(0, count, count // 20)] = 0
    return (vectors * random.uniform(0.1, 10, (count, 1))).astype(np.float32)


def random_vectors(random: np.random.Generator, count: int, length: int) -> np.ndarray:
    return random.standard_normal((count, length), dtype=np.float32)


def whole_numbers(random: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Many equal scores, of different vectors."""
    return random.integers(-1, 2, (count, length)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("make", [clusters, random_vectors, whole_numbers])
@pytest.mark.parametrize(("count", "length", "top"), [(6000, 48, 10), (3000, 5, 1), (50, 16, 60), (1, 3, 4)])
def test_an_index_finds_what_all_scores_in_float64_give(
    make: object, metric: Metric, count: int, length: int, top: int
) -> None:
    random = np.random.default_rng([count, length])
    vectors = make(random, count, length)  # type: ignore[operator]
    index = RegionIndex(vectors, metric=metric)
    queries = np.concatenate([vectors[:3] + 0.0, vectors[:2] + vectors[-2:], random_vectors(random, 3, length)])
    queries = queries[(queries != 0).any(axis=1)]
    found = index.search(queries, top)
    for query, positions, scores in zip(queries, *found, strict=True):
        rows, expected = brute_force(vectors, query, top, metric)
        np.testing.assert_array_equal(positions, rows)
        np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-15)


def test_an_index_of_features_looks_at_few_of_them() -> None:
    """Else it would be right, and slow."""
    random = np.random.default_rng(0)
    mix = random.normal(size=(24, 320)) * 0.8 ** np.arange(24)[:, None]
    vectors = (random.normal(size=(20_000, 24)) @ mix + random.normal(0, 0.02, (20_000, 320))).astype(np.float32)
    index = RegionIndex(vectors)
    assert 0 < index.axes < 32
    assert max(len(index.candidates(query, 10)) for query in vectors[:20]) < 2000
    assert RegionIndex(random_vectors(random, 2000, 64)).axes == 0, "there is nothing to leave out"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(METRICS), st.integers(1, 5))
def test_scores_that_float32_cannot_tell_apart_are_told_apart(seed: int, metric: Metric, rank: int) -> None:
    """Vectors that differ in their last bits, of low rank, so that nearly all of each is in its first part."""
    random = np.random.default_rng(seed)
    base = random.normal(size=(rank, 40))
    vectors = (random.normal(size=(300, rank)) @ base).astype(np.float32)
    vectors[100:200] = vectors[0] * (1 + random.integers(-2, 3, (100, 40)) * np.float32(2**-23))
    index = RegionIndex(vectors, metric=metric)
    found = index.search(vectors[:2], 20)
    for query, positions in zip(vectors[:2], found.positions, strict=True):
        np.testing.assert_array_equal(positions, brute_force(vectors, query, 20, metric)[0])


def write_folder(
    path: Path, vectors: np.ndarray, shards: int, file_format: Format, *, failed: int = 1
) -> FeatureFolder:
    """A result as a job leaves it, of images whose last rows failed."""
    path.mkdir()
    files = [f"features-{number:05}-of-{shards:05}.{file_format}" for number in range(shards)]
    for number, (file, part) in enumerate(zip(files, np.array_split(vectors, shards), strict=True)):
        count, good = len(part) + failed, len(part)
        corners = np.arange(4.0 * count).reshape(count, 4)
        columns = Columns(
            image=[f"{number}.jpg"] * count,
            row=np.array([*range(good), *[-1] * failed], dtype=np.int64),
            box=np.concatenate([corners[:good], np.zeros((failed, 4))]),
            label=[*(f"label {row}" for row in range(good)), *[""] * failed],
            score=None,
            image_size=np.array([(100, 100)] * good + [(0, 0)] * failed, dtype=np.int32).reshape(count, 2),
            features={"vector": np.concatenate([part, np.zeros((failed, part.shape[1]), part.dtype)])},
            error=[None] * good + ["damaged"] * failed,
        )
        write_shard(path / file, columns, file_format, Origin({}, number))
    manifest = {"version": VERSION, "fingerprint": {}, "columns": {"vector": [vectors.shape[1]]}}
    manifest["shards"] = [{"file": file} for file in files]
    return FeatureFolder(path, manifest, tuple(files))


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_folder_is_searched_shard_by_shard(
    file_format: Format, metric: Metric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roialign.features.shard_files.GROUP_BYTES", 1 << 12)  # several blocks in a shard
    vectors = clusters(np.random.default_rng(0), 500, 24)
    folder = write_folder(tmp_path / "out", vectors, 3, file_format)
    queries = vectors[(vectors != 0).any(axis=1)][:4]
    sizes = [len(part) for part in np.array_split(vectors, 3)]
    places = np.concatenate([number * ROWS_PER_SHARD + np.arange(size) for number, size in enumerate(sizes)])
    found = nearest(folder, queries, 12, metric=metric)
    for query, positions, scores in zip(queries, *found, strict=True):
        rows, expected = brute_force(vectors, query, 12, metric)
        np.testing.assert_array_equal(positions, places[rows])
        np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-15)
    index = RegionIndex.of_folder(folder, metric=metric).search(queries, 12)
    np.testing.assert_array_equal(index.positions, found.positions)
    np.testing.assert_array_equal(index.scores, found.scores)

    regions = folder.regions([places[499], places[0], places[499]])
    assert [(region.image, region.row, region.label) for region in regions] == [
        ("2.jpg", sizes[2] - 1, f"label {sizes[2] - 1}"),
        ("0.jpg", 0, "label 0"),
        ("2.jpg", sizes[2] - 1, f"label {sizes[2] - 1}"),
    ]
    assert regions[1].box == (0.0, 1.0, 2.0, 3.0)
    assert regions[1].image_size == (100, 100)
    excluded = folder.positions_of_image(Path("nothing.jpg"), Path("0.jpg"))
    others = nearest(folder, queries, 12, metric=metric, excluded=excluded)
    assert (others.positions >= ROWS_PER_SHARD).all()


@pytest.mark.parametrize("failed", [0, 1])
@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_a_folder_without_regions_has_nothing_near(file_format: Format, failed: int, tmp_path: Path) -> None:
    """As of images in which a detector finds nothing, or that failed."""
    folder = write_folder(tmp_path / "out", np.zeros((0, 4), np.float32), 2, file_format, failed=failed)
    index = RegionIndex.of_folder(folder)
    assert (index.vectors.shape, index.vectors.dtype) == ((0, 4), np.float32)
    assert (index.positions.shape, index.positions.dtype) == ((0,), np.int64)
    for found in (index.search(np.ones((2, 4))), nearest(folder, np.ones((2, 4)))):
        assert found.positions.shape == found.scores.shape == (2, 0)
    for search in (index.search, lambda queries: nearest(folder, queries)):
        with pytest.raises(ValueError, match="queries: expected vectors of 4 numbers, got 3"):
            search(np.ones((2, 3)))  # type: ignore[operator]
    assert folder.regions([]) == []
    assert folder.positions_of_image("0.jpg").tolist() == list(range(failed))
    with pytest.raises(ValueError, match=r"has fewer than 1 rows|has no box"):
        folder.regions([0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_queries_and_vectors_of_any_scale(scale: float, metric: Metric, tmp_path: Path) -> None:
    """Whose products float32 cannot hold, beside others that it can."""
    vectors = clusters(np.random.default_rng(0), 200, 24)
    vectors[::3] *= np.float32(scale)
    query = vectors[3] if vectors[3].any() else vectors[0]
    folder = write_folder(tmp_path / "out", vectors, 1, "npz")
    rows, scores = brute_force(vectors, query, 90, metric)
    for found in (
        nearest(folder, query[None], 90, metric=metric),
        RegionIndex(vectors, metric=metric).search(query[None], 90),
    ):
        np.testing.assert_array_equal(found.positions[0], rows)
        np.testing.assert_allclose(found.scores[0], scores, rtol=1e-12)


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_positions_at_which_there_is_no_region(file_format: Format, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "out", np.ones((4, 3)), 2, file_format)
    for position in (-1, 2 * ROWS_PER_SHARD):
        with pytest.raises(ValueError, match=f"^positions: .* has no region at {position}"):
            folder.regions([position])
    with pytest.raises(
        ValueError, match=rf"^positions: .*features-00001-of-00002\.{file_format} has fewer than 10 rows"
    ):
        folder.regions([ROWS_PER_SHARD + 9])


@pytest.mark.parametrize("positions", [[0.5], ["0"], None])
def test_positions_are_ints(positions: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "out", np.ones((4, 3)), 2, "npz")
    with pytest.raises(TypeError, match=r"^positions: expected ints, got"):
        folder.regions(positions)
    assert len(folder.regions(np.array([0, 1]))) == 2  # type: ignore[arg-type]


def test_a_folder_is_a_path() -> None:
    with pytest.raises(TypeError, match=r"^path: expected a path, got None$"):
        FeatureFolder.open(None)  # type: ignore[arg-type]


def test_a_feature_that_is_not_finite_is_named(tmp_path: Path) -> None:
    vectors = np.ones((10, 4), dtype=np.float32)
    vectors[7, 2] = np.inf
    folder = write_folder(tmp_path / "out", vectors, 2, "npz")
    with pytest.raises(ValueError, match=r"features-00001-of-00002\.npz: row 2 has features that are not finite"):
        nearest(folder, vectors[:1])


@pytest.mark.parametrize(
    ("queries", "top", "metric", "why"),
    [
        (np.ones((1, 3)), 1, "cosine", "expected vectors of 4 numbers, got 3"),
        (np.ones(4), 1, "cosine", r"queries: expected \[Q, C\], got shape \[4\]"),
        (np.ones((0, 4)), 1, "cosine", r"queries: expected \[Q, C\], got shape \[0, 4\]"),
        (
            np.array([[1.0, np.nan, 0, 0]]),
            1,
            "cosine",
            "queries: expected finite numbers, got NaN or infinity in row 0",
        ),
        (np.zeros((1, 4)), 1, "cosine", "queries: row 0 is zero, so its cosine is undefined"),
        (np.ones((1, 4)), 0, "cosine", "top: expected at least 1, got 0"),
        (np.ones((1, 4)), 1, "euclidean", "metric: expected one of cosine, inner-product, got 'euclidean'"),
    ],
)
def test_what_cannot_be_searched_for_is_named(
    queries: np.ndarray, top: int, metric: Metric, why: str, tmp_path: Path
) -> None:
    vectors = np.eye(4, dtype=np.float32)
    folder = write_folder(tmp_path / "out", vectors, 1, "npz")
    with pytest.raises(ValueError, match=why):
        nearest(folder, queries, top, metric=metric)
    with pytest.raises(ValueError, match=why):
        RegionIndex(vectors, metric=metric).search(queries, top)


def test_vectors_of_an_index_are_checked() -> None:
    with pytest.raises(ValueError, match=r"vectors: expected \[N, C\], got shape \[3\]"):
        RegionIndex(np.zeros(3))
    with pytest.raises(ValueError, match="positions: expected one for each of 2 vectors"):
        RegionIndex(np.zeros((2, 3)), np.arange(3))
    with pytest.raises(ValueError, match="vectors: expected finite numbers, got NaN or infinity in row 1"):
        RegionIndex(np.array([[1.0, 2.0], [np.nan, 1.0]]))


@pytest.mark.parametrize(
    ("queries", "top", "error", "why"),
    [
        (np.ones((1, 4), dtype=complex), 1, TypeError, "queries: expected real numbers, got complex128"),
        (None, 1, TypeError, "queries: expected real numbers, got object"),
        ([["1", "2", "3", "4"]], 1, TypeError, "queries: expected real numbers, got <U1"),
        ([[1, 2, 3, 4], [1]], 1, ValueError, r"queries: expected \[Q, C\], got rows of different lengths"),
        (np.full((1, 4), 1e300), 1, ValueError, "queries: expected finite numbers, got NaN or infinity in row 0"),
        (np.ones((1, 4)), 2.5, TypeError, r"top: expected an int, got 2\.5"),
        (np.ones((1, 4)), None, TypeError, "top: expected an int, got None"),
    ],
)
def test_queries_of_another_type_are_named(
    queries: object, top: int, error: type[Exception], why: str, tmp_path: Path
) -> None:
    vectors = np.eye(4, dtype=np.float32)
    folder = write_folder(tmp_path / "out", vectors, 1, "npz")
    with pytest.raises(error, match=why):
        nearest(folder, queries, top)  # type: ignore[arg-type]
    with pytest.raises(error, match=why):
        RegionIndex(vectors).search(queries, top)  # type: ignore[arg-type]


def test_other_arrays_of_another_type_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "out", np.eye(4), 1, "npz")
    with pytest.raises(TypeError, match="vectors: expected real numbers, got object"):
        RegionIndex(np.ones((2, 4), dtype=object))
    with pytest.raises(ValueError, match="vectors: expected finite numbers, got NaN or infinity in row 0"):
        RegionIndex(np.full((2, 4), 1e300))
    with pytest.raises(TypeError, match="positions: expected whole numbers, got float64"):
        RegionIndex(np.ones((2, 4)), np.array([0.5, 1.5]))
    with pytest.raises(TypeError, match="excluded: expected whole numbers, got <U1"):
        nearest(folder, np.ones((1, 4)), excluded=np.array(["a"]))
