"""The records of shards: a damaged shard, and one of another job, are errors and never another table."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from roialign.features import BackboneOptions, FileBoxes, GridBoxes, Job, JobSettings, prepare, run
from roialign.features.records import Checksum, Origin, Texts, checksum_of
from roialign.features.shard_files import FILES
from roialign.features.shard_reading import open_shard
from roialign.features.writing import Format
from roialign.files.boxes import Box, read_boxes
from roialign.files.problems import FileError, Problems
from roialign.search import FeatureFolder
from tests.features.jobs import contents, forget_record, forget_records
from tests.features.photographs import write_photographs
from tests.search.networks import save_network

FORMATS: tuple[Format, ...] = ("parquet", "safetensors", "npz")
#: The number of damaged files of each kind and format.
TRIES = 250


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    photos = write_photographs(folder, 5)
    (folder / "broken.jpg").write_bytes(b"")
    return [*photos, folder / "broken.jpg"]


def pixel_job(images: list[Path], out: Path, file_format: Format, rule: str = "exact", columns: int = 2) -> Job:
    """Maps and vectors of a grid of each image, in three shards, the last with an image that failed."""
    settings = JobSettings("pixels", ((2, 2), (1, 1)), rule, file_format=file_format, shard_images=2)
    job = prepare(images, GridBoxes(2, columns), out, settings, BackboneOptions(threads=1))
    run(job, readers=0)
    return job


def table_of(path: Path, origin: Origin) -> dict[str, object]:
    """Everything that a shard holds."""
    table: dict[str, object] = {}
    with open_shard(path, origin, required=True) as shard:
        for name in shard.columns:
            if name in ("image", "label", "error"):
                table[name] = shard.texts(name).at(np.arange(len(shard.good)))
            elif name in ("features", "vector"):
                table[name] = [
                    (rows.tolist(), str(values.dtype), values.tolist()) for rows, values in shard.blocks(name)
                ]
            else:
                table[name] = shard.numbers(name).tolist()
    return table


def flip(chance: random.Random, content: bytearray) -> None:
    """Change one byte."""
    content[chance.randrange(len(content))] ^= chance.randrange(1, 256)


def clear(chance: random.Random, content: bytearray) -> None:
    """Set some bytes to zero, as a disk may."""
    first = chance.randrange(len(content))
    content[first : first + 64] = bytes(len(content[first : first + 64]))


def shorten(chance: random.Random, content: bytearray) -> None:
    """Remove some bytes."""
    first = chance.randrange(len(content))
    del content[first : first + chance.choice([1, 8, len(content)])]


@pytest.mark.parametrize("damage", [flip, clear, shorten])
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_damaged_shard_is_an_error_or_the_same_table(
    file_format: Format, damage: Callable[[random.Random, bytearray], None], images: list[Path], tmp_path: Path
) -> None:
    job = pixel_job(images, tmp_path / "out", file_format)
    path, origin = tmp_path / "out" / job.shards[2].file, Origin(job.fingerprint, 2)
    whole, expected = path.read_bytes(), table_of(path, origin)
    assert expected["error"] == ["", "", "", "", expected["error"][-1]] != [""] * 5  # type: ignore[index]
    chance, errors = random.Random(0), []
    for number in range(TRIES):
        content = bytearray(whole)
        damage(chance, content)
        path.write_bytes(content)
        try:
            assert table_of(path, origin) == expected, f"damage {number}"
        except FileError as error:
            errors.append(str(error))
    assert len(errors) > TRIES // 2
    assert all(error.startswith(f"{path}: ") for error in errors)
    advice = re.compile(
        "; (if not, delete this shard|delete it), and rerun the command that "
    )  # the former: of another job
    assert all(advice.search(error) for error in errors)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_changed_feature_is_an_error_in_every_search(file_format: Format, images: list[Path], tmp_path: Path) -> None:
    job = pixel_job(images, tmp_path / "out", file_format)
    path = tmp_path / "out" / job.shards[1].file
    with open_shard(path) as shard:
        (values,) = [values for _, values in shard.blocks("vector")]
    whole = path.read_bytes()
    place = whole.index(values.tobytes())
    for changed in (bytes([whole[place] ^ 1]), np.float32(np.nan).tobytes()):
        path.write_bytes(whole[:place] + changed + whole[place + len(changed) :])
        with pytest.raises(FileError, match=r"00001-of-00003.*: cannot be read: .*CRC"):
            list(FeatureFolder.open(tmp_path / "out").blocks("vector"))


def stored_columns(path: Path) -> list[str]:
    """The names of the columns as the format has them."""
    if path.suffix == ".npz":
        with np.load(path) as shard:
            return [name for name in shard.files if name != "roialign"]
    return list(load_file(path)) if path.suffix == ".safetensors" else parquet.read_schema(path).names


def reverse(path: Path, column: str) -> None:
    """Reverse the rows of a column of a shard, and leave everything else as it is."""
    if path.suffix == ".npz":
        with np.load(path) as shard:
            arrays = dict(shard)
        np.savez(path, **{**arrays, column: arrays[column][::-1]})
    elif path.suffix == ".safetensors":
        with safe_open(path, "np") as shard:
            metadata = shard.metadata()
        tensors = load_file(path)
        save_file({**tensors, column: np.ascontiguousarray(tensors[column][::-1])}, path, metadata)
    else:
        table = parquet.read_table(path, partitioning=None)
        place = table.column_names.index(column)
        changed = table.set_column(place, column, table[column].take(list(range(len(table)))[::-1]))
        parquet.write_table(changed.replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_column_is_compared_with_its_checksum(file_format: Format, images: list[Path], tmp_path: Path) -> None:
    """Also where the checksums of the format are right, because the file was written like this."""
    job = pixel_job(images, tmp_path / "out", file_format)
    path, origin = tmp_path / "out" / job.shards[2].file, Origin(job.fingerprint, 2)
    whole = path.read_bytes()
    for name in stored_columns(path):
        reverse(path, name)
        with pytest.raises(FileError, match=f"^{path}: cannot be read: "):
            table_of(path, origin)
        path.write_bytes(whole)


def test_a_table_that_was_compressed_and_has_another_column_is_read(images: list[Path], tmp_path: Path) -> None:
    job = pixel_job(images, tmp_path / "out", "parquet")
    path, origin = tmp_path / "out" / job.shards[2].file, Origin(job.fingerprint, 2)
    expected, table = table_of(path, origin), parquet.read_table(path, partitioning=None)
    parquet.write_table(table.append_column("cluster", [list(range(len(table)))]), path, compression="zstd")
    assert table_of(path, origin) == expected


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda vector: np.concatenate([vector[:-1], vector[:1]]), "expected zeros in the rows of images that failed"),
        (lambda vector: vector[:-1], "expected 5 rows of features, found 4"),
    ],
)
def test_rows_without_a_record_are_checked(
    change: Callable[[np.ndarray], np.ndarray], why: str, images: list[Path], tmp_path: Path
) -> None:
    job = pixel_job(images, tmp_path / "out", "safetensors")
    forget_records(tmp_path / "out")
    path = tmp_path / "out" / job.shards[2].file
    with safe_open(path, "np") as shard:
        metadata = shard.metadata()
    tensors = load_file(path)
    save_file({**tensors, "vector": change(tensors["vector"])}, path, metadata)
    with pytest.raises(FileError, match=f"{path}: cannot be read: {why}"):
        list(FeatureFolder.open(tmp_path / "out").blocks())


@pytest.mark.parametrize("file_format", FORMATS)
def test_texts_are_checked_too(file_format: Format, images: list[Path], tmp_path: Path) -> None:
    """A label, and the error of an image."""
    job = pixel_job(images, tmp_path / "out", file_format)
    path = tmp_path / "out" / job.shards[2].file
    whole = path.read_bytes()
    encoding = "utf-32-le" if file_format == "npz" else "utf-8"
    for old, new in (("1,1", "1,7"), ("mpty", "mptx")):
        assert old.encode(encoding) in whole
        path.write_bytes(whole.replace(old.encode(encoding), new.encode(encoding)))
        with pytest.raises(FileError, match=r"cannot be read: .*CRC"):
            FeatureFolder.open(tmp_path / "out").regions([2 << 32]) if old == "1,1" else job.earlier_errors()


def test_a_damaged_shard_is_no_box_file(images: list[Path], tmp_path: Path) -> None:
    job = pixel_job(images, tmp_path / "out", "parquet")
    path = tmp_path / "out" / job.shards[0].file
    boxes = [box.corners for box in read_boxes(path, Problems())]
    content = bytearray(path.read_bytes())
    content[content.index(np.array(boxes).tobytes()) + 12] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"cannot be read as Parquet: .*CRC"):
        list(read_boxes(path, Problems()))


def with_network(images: list[Path], out: Path, seed: int) -> Job:
    network = save_network(out.parent / f"{seed}.onnx", seed)
    settings = JobSettings(f"onnx:{network}", ((1, 1),), levels="8", shard_images=2)
    job = prepare(images, GridBoxes(2, 2), out, settings, BackboneOptions(threads=1, image_size=64))
    run(job, readers=0)
    return job


def with_boxes(images: list[Path], out: Path, corner: int) -> Job:
    groups = {image: [Box(0, "", str(image), (0.0, 0.0, corner, 50.0), "a")] for image in images}
    settings = JobSettings("pixels", ((1, 1),), shard_images=2, file_format="safetensors")
    job = prepare(images, FileBoxes(groups), out, settings, BackboneOptions(threads=1))
    run(job, readers=0)
    return job


def with_rule(images: list[Path], out: Path, choice: int) -> Job:
    return pixel_job(images, out, "npz", ("max", "align")[choice])


@pytest.mark.parametrize(
    ("job_of", "difference"),
    [
        (with_network, r'backbone\.file: expected ".*", found ".*"'),
        (with_boxes, r'boxes\.sha256: expected ".*", found ".*"'),
        (with_rule, 'pooling.rule: expected "max", found "align"'),
    ],
)
def test_a_shard_of_another_job_is_named(
    job_of: Callable[[list[Path], Path, int], Job], difference: str, images: list[Path], tmp_path: Path
) -> None:
    """Of the same images, with the same names and shapes."""
    own, other = tmp_path / "own", tmp_path / "other"
    job = job_of(images, own, 0)
    before = contents(own)
    shard = own / job_of(images, other, 1).shards[1].file
    shutil.copy(other / shard.name, shard)
    advice = (
        r"if the shards are right, put back their _manifest\.json; if not, delete this shard, and rerun the command"
    )
    expected = (
        rf"^{shard}: belongs to another job than _manifest\.json: .*{difference}.*; {advice} that started this job$"
    )
    with pytest.raises(FileError, match=expected):
        list(FeatureFolder.open(own).blocks())
    with pytest.raises(FileError, match=expected):
        FeatureFolder.open(own).regions([1 << 32])
    with pytest.raises(FileError, match=expected):
        FeatureFolder.open(own).positions_of_image(images[0])
    (own / job.shards[0].file).unlink()
    with pytest.raises(FileError, match=expected):
        job_of(images, own, 0)
    assert not (own / job.shards[0].file).exists(), "nothing is computed"
    shard.unlink()
    job_of(images, own, 0)
    assert contents(own) == before


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_shard_under_the_name_of_another_is_named(file_format: Format, images: list[Path], tmp_path: Path) -> None:
    job = pixel_job(images, tmp_path / "out", file_format)
    first, second, _ = (tmp_path / "out" / shard.file for shard in job.shards)
    shutil.copy(first, second)
    expected = f"^{second}: is another shard of this job: expected shard 1, found shard 0; delete it"
    with pytest.raises(FileError, match=expected):
        list(FeatureFolder.open(tmp_path / "out").blocks())
    with pytest.raises(FileError, match=expected):
        pixel_job(images, tmp_path / "out", file_format)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_folder_of_an_earlier_version_is_read_and_resumed(
    file_format: Format, images: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    job = pixel_job(images, out, file_format)
    expected = read_all(FeatureFolder.open(out))
    failed = job.earlier_errors()
    forget_records(out)
    assert read_all(FeatureFolder.open(out)) == expected
    last = out / job.shards[2].file
    last.unlink()
    again = pixel_job(images, out, file_format)
    assert read_all(FeatureFolder.open(out)) == expected
    assert again.earlier_errors() == failed
    with open_shard(out / job.shards[0].file) as old, open_shard(last, required=True) as new:
        assert (old.has_record, new.has_record) == (False, True)
    shutil.copy(out / job.shards[0].file, out / job.shards[1].file)
    with pytest.raises(FileError, match=r"another job than _manifest\.json: first image: expected .*, found "):
        list(FeatureFolder.open(out).blocks())


def read_all(folder: FeatureFolder) -> list[Any]:
    found = []
    for column in folder.columns:
        for positions, vectors in folder.blocks(column):
            found += [positions.tolist(), vectors.tolist(), folder.regions(positions)]
    return [*found, folder.positions_of_image(*{region.image for region in found[2]}).tolist()]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_new_folder_takes_no_shard_without_a_record(file_format: Format, images: list[Path], tmp_path: Path) -> None:
    job = pixel_job(images, tmp_path / "out", file_format)
    forget_record(tmp_path / "out" / job.shards[1].file)
    expected = (
        r"another job than _manifest\.json: expected fingerprint, shard, crc32 in its metadata, found none of them; if"
    )
    with pytest.raises(FileError, match=expected):
        list(FeatureFolder.open(tmp_path / "out").blocks())
    with pytest.raises(FileError, match=expected):
        job.missing()


def test_the_formats_have_the_same_table_and_checksums(images: list[Path], tmp_path: Path) -> None:
    tables, checksums = [], []
    for file_format in FORMATS:
        job = pixel_job(images, tmp_path / file_format, file_format)
        path = tmp_path / file_format / job.shards[2].file
        tables.append(table_of(path, Origin(job.fingerprint, 2)))
        with ExitStack() as closing:
            checksums.append(FILES[path.suffix](path, closing).metadata["crc32"])
    table = tables[0]
    assert tables == [table] * 3
    assert checksums == [checksums[0]] * 3
    assert table["label"] == ["0,0", "0,1", "1,0", "1,1", ""]
    assert table["image"] == [images[4].as_posix()] * 4 + [images[5].as_posix()]
    assert table["row"] == [0, 1, 2, 3, -1]
    assert table["box"][4] == [0.0] * 4  # type: ignore[index]
    assert table["image_size"][4] == [0, 0]  # type: ignore[index]


def test_a_checksum_is_that_of_the_values_and_their_type() -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 4)
    parts = Checksum()
    for part in np.split(values, 3):
        parts.add(part)
    assert (
        str(parts) == checksum_of(values) == checksum_of(values.reshape(6, 2, 2)) == checksum_of(values.astype(">f4"))
    )
    others = [values.reshape(4, 6), values.view(np.int32), values[:5], values[::-1], -values, values.astype(np.float64)]
    texts = [Texts.of(one) for one in (["a", "b"], ["b", "a"], ["a", "b", "a"], ["ab"], ["a", "b", ""])]
    every = [checksum_of(column) for column in (values, *others, *texts)]
    assert len(set(every)) == len(every)
