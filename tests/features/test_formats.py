"""Files of features in every format, as other libraries read them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow.parquet
import pytest
from datasets import load_dataset
from safetensors import safe_open
from safetensors.numpy import load_file

from roialign.features import (
    run,
)
from tests.features.jobs import small_job


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text exist on Linux")
@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_names_that_utf_8_cannot_hold_stand_as_escapes(file_format: str, images: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff.jpg")
    shutil.copy(images[0], odd)
    job = small_job([odd, images[1]], tmp_path / "out", file_format=file_format)
    assert run(job, readers=0).errors == {}
    (shard,) = job.shards
    if file_format == "npz":
        with np.load(tmp_path / "out" / shard.file) as written:
            names = written["images"].tolist()
    elif file_format == "safetensors":
        names = texts_of(tmp_path / "out" / shard.file)["images"]
    else:
        names = pyarrow.parquet.read_table(tmp_path / "out" / shard.file)["image"].to_pylist()
    assert any(name.endswith("odd\\udcff.jpg") for name in names)


def test_tables_are_read_by_everyone(images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    run(small_job([*images, broken], out, sizes=((2, 2), (1, 1))), readers=0)
    files = str(out / "*.parquet")
    table = pandas.read_parquet(out)
    assert len(table) == 12 * 4 + 1
    assert table[table["error"].notna()]["image"].tolist() == [broken.as_posix()]
    vectors = np.stack(table[table["error"].isna()]["vector"].to_list())
    assert vectors.shape == (48, 112)

    frame = polars.read_parquet(files).filter(polars.col("error").is_null())
    np.testing.assert_array_equal(frame["vector"].to_numpy(), vectors)
    assert frame["features"].dtype == polars.Array(polars.Float32, 112 * 4)

    rows = duckdb.sql(f"select vector from '{files}' where error is null order by image, row").fetchall()
    np.testing.assert_array_equal(np.array([row[0] for row in rows], dtype=np.float32), vectors)

    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    kept = loaded.with_format("numpy").filter(lambda error: error is None, input_columns="error")
    np.testing.assert_array_equal(np.stack(kept["vector"]), vectors)


def texts_of(path: Path) -> dict[str, list[str]]:
    """What stands in the metadata of a shard of safetensors."""
    with safe_open(path, "np") as shard:
        texts: dict[str, list[str]] = json.loads(shard.metadata()["roialign"])
    return texts


def test_safetensors_hold_what_parquet_holds(images: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    options = {"sizes": ((2, 2), (1, 1)), "dtype": "float16"}
    job = small_job([*images[:3], broken], tmp_path / "one", file_format="safetensors", **options)
    run(job, readers=0)
    run(small_job([*images[:3], broken], tmp_path / "other", **options), readers=0)
    (shard,) = job.shards
    found, texts = load_file(tmp_path / "one" / shard.file), texts_of(tmp_path / "one" / shard.file)
    table = pandas.read_parquet(tmp_path / "other")
    assert [texts["images"][place] for place in found["images"]] == table["image"].tolist()
    assert found["rows"].tolist() == [*range(4)] * 3 + [-1]
    good = table[table["error"].isna()]
    assert list(texts["errors"]) == [broken.as_posix()]
    assert [texts["labels"][place] for place in found["labels"][:-1]] == good["label"].tolist()
    np.testing.assert_array_equal(found["boxes"][:-1], np.stack(good["box"].to_list()))
    np.testing.assert_array_equal(found["image_sizes"][:-1], good[["image_width", "image_height"]])
    assert (found["features"].shape, found["vector"].shape) == ((13, 112, 2, 2), (13, 112))
    for name in ("features", "vector"):
        assert found[name].dtype == np.float16
        np.testing.assert_array_equal(found[name][:-1].reshape(12, -1), np.stack(good[name].to_list()))


def test_features_of_half_precision(images: list[Path], tmp_path: Path) -> None:
    full, half = tmp_path / "full", tmp_path / "half"
    run(small_job(images, full), readers=0)
    run(small_job(images, half, dtype="float16"), readers=0)
    one, other = (np.stack(pandas.read_parquet(folder)["vector"].to_list()) for folder in (full, half))
    assert other.dtype == np.float16
    np.testing.assert_array_equal(one.astype(np.float16), other)
