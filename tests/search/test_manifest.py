"""Manifests that were edited, cut short or put into the wrong folder, as `roialign search` and `extract` meet them."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from roialign.features import BackboneOptions
from tests.commands.invoked import invoke, told
from tests.features.jobs import forget_records
from tests.search.words import OPTIONS, SEVERAL


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (("columns",), None, "columns: expected the shape of every column, [C] or [C, PH, PW], found null"),
        (("columns",), {}, "columns: expected the shape of every column"),
        (("columns", "vector"), "ab", "columns: expected the shape of every column"),
        (("columns", "vector"), [-112], "columns: expected the shape of every column"),
        (
            ("columns", "vector"),
            [40],
            'its pooling gives columns {"vector": [112]}, and its columns are {"vector": [40]}',
        ),
        (("shards",), {}, "shards: expected a list, found {}"),
        (("shards", 1), 7, "shards: expected the name of a shard in entry 1, found 7"),
        (("shards", 1, "file"), "../features-0-of-1.npz", "shards: expected the name of a shard in entry 1"),
        (
            ("shards", 1, "file"),
            "features-00000-of-00003.parquet",
            "shards: expected shard 1 in entry 1, found features-0",
        ),
        (("shards", 1, "images"), "5", 'shards: expected the number of images in entry 1, found "5"'),
        (("shards", 1, "images"), 4, "shards: expected 13 images in all entries, as the fingerprint says, found 12"),
        (("shards", 1, "first"), None, "shards: expected the first image in entry 1, found null"),
        (("shards",), [], "shards: expected 13 images in all entries, as the fingerprint says, found 0"),
        (("backbone",), 3, "backbone: expected an object with name and options, found 3"),
        (("backbone", "name"), 3, "backbone.name: expected a text, found 3"),
        (("backbone", "options"), [], "backbone.options: expected an object, found []"),
        (("fingerprint", "images"), None, "fingerprint.images: expected an object, found null"),
        (("fingerprint", "images", "count"), -1, "fingerprint.images.count: expected a whole number from 0, found -1"),
        (("version",), 3, "version: expected 1 or 2, found 3"),
        (("fingerprint", "backbone"), None, "fingerprint.backbone: expected an object, found null"),
        (("fingerprint", "settings"), [], "fingerprint.settings: expected an object, found []"),
        (("fingerprint", "pooling"), "x", 'fingerprint.pooling: expected an object, found "x"'),
        (("fingerprint", "pooling", "levels"), [9], "fingerprint.pooling: cannot be used"),
        (("fingerprint", "pooling", "dtype"), "foo", "fingerprint.pooling: cannot be used"),
        (("fingerprint", "pooling", "more"), 1, "fingerprint.pooling: cannot be used"),
    ],
)
def test_a_manifest_that_was_edited_is_named(
    place: tuple[str | int, ...], value: object, why: str, photos: Path, features: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(features, copy)
    manifest = copy / "_manifest.json"
    content = json.loads(manifest.read_text())
    part = content
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    manifest.write_text(json.dumps(content))
    (error,) = told(invoke("search", copy, "--like", photos / "000.jpg"))
    assert error.startswith(f"{manifest}: {why}")
    assert error.endswith("restore this file, or extract the features again into another folder")


#: For each option of a backbone, values of the wrong type, and then values that no backbone takes.
WRONG_OPTIONS: dict[str, tuple[list[object], list[object]]] = {
    "image_size": ([-1, 0, "96", True, 96.5, [96], [96, -1], {}], [[97, 33]]),
    "normalise": ([3, -1, [], {}], ["x", "1,2/3"]),
    "weights": ([3, False, []], ["x.pt", "none"]),
    "prefix_tokens": ([-1, "1", 0.5], []),
    "patch_size": ([0, "14", []], []),
    "device": ([None, 0, []], ["x", "cuda:x", "\0"]),
    "precision": ([None, "x", 16, []], ["float16"]),
    "channels_last": ([None, 0, "false"], [True]),
    "threads": ([None, 0, -1, "1", True, 1.5], []),
}


def test_every_option_of_a_backbone_is_checked(features: Path, photos: Path, tmp_path: Path) -> None:
    assert set(WRONG_OPTIONS) == {one.name for one in fields(BackboneOptions)}
    copy = tmp_path / "copy"
    shutil.copytree(features, copy)
    manifest = copy / "_manifest.json"
    whole = json.loads(manifest.read_text())
    made = whole["backbone"]

    def error_of(backbone: dict[str, object]) -> str:
        manifest.write_text(json.dumps({**whole, "backbone": backbone}))
        (error,) = told(invoke("search", copy, "--like", photos / "000.jpg"))
        return error

    for name, (of_wrong_type, unusable) in WRONG_OPTIONS.items():
        for value in of_wrong_type:
            error = error_of({**made, "options": {**made["options"], name: value}})
            assert error.startswith(f"{manifest}: backbone.options.{name}: expected ")
            assert f", found {json.dumps(value)}; " in error
        for value in unusable:
            error = error_of({**made, "options": {**made["options"], name: value}})
            assert error.startswith(f"{manifest}: backbone: {name.replace('_', '-')}: expected ")
    for wrong in ("x", "", "onnx:none.onnx", "onnx:\0", "pixels:x", "timm:", "detector:none.pt", "program:none.pt2"):
        assert error_of({**made, "name": wrong}).startswith(f"{manifest}: backbone: expected ")
    assert "was computed with a different backbone than efficientnet-lite0: normalisation" in error_of(
        {**made, "options": {**made["options"], "normalise": "clip"}}
    )
    manifest.write_text(json.dumps(whole))
    for option, value in (("--device", "x"), ("--backbone", "onnx:none.onnx")):
        (error,) = told(invoke("search", copy, "--like", photos / "000.jpg", option, value))
        assert error.startswith(f"{option.removeprefix('--')}: expected "), "not the manifest's fault"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("boxes", ["grid:2x2", "boxes.csv"])
def test_a_manifest_that_has_lost_a_shard_is_named(boxes: str, version: int, photos: Path, tmp_path: Path) -> None:
    """By search, and by extract, which must not say that nothing is left to do. Some photographs have no box."""
    table, out = tmp_path / "boxes.csv", tmp_path / "out"
    table.write_text("image,x1,y1,x2,y2\n" + "".join(f"{number:03}.jpg,0,0,20,20\n" for number in range(1, 12)))
    options = ("--boxes", boxes.replace("boxes.csv", str(table)), "--ignore-missing", "--backbone", "pixels")
    options += ("--readers", 0, *SEVERAL, "--output-size", "vector", "--out", out)
    searched = ("search", out, "--like", photos / "000.jpg")
    assert invoke("extract", photos, *options).exit_code == 0
    if version == 1:
        forget_records(out)
    assert invoke(*searched).exit_code == 0
    manifest = out / "_manifest.json"
    whole = json.loads(manifest.read_text())
    count = len(whole["shards"])
    manifest.write_text(json.dumps({**whole, "shards": whole["shards"][:-1]}))
    for done in (invoke(*searched), invoke("extract", photos, *options)):
        (error,) = told(done)
        assert error.startswith(f"{manifest}: shards: expected {count} entries, as features-0")
        assert f" says, found {count - 1}; " in error
        assert "restore this file, or extract the features again into another folder" in error
    manifest.write_text(json.dumps(whole))
    assert "nothing left to do" in invoke("extract", photos, *options).stdout


def test_entries_of_a_manifest_must_be_those_of_the_job(photos: Path, tmp_path: Path) -> None:
    """Extract knows the images of each shard, and not only their number."""
    out = tmp_path / "out"
    options = ("--boxes", "grid:1x1", "--backbone", "pixels", "--readers", 0, *SEVERAL, "--output-size", "vector")
    assert invoke("extract", photos, *options, "--out", out).exit_code == 0
    manifest = out / "_manifest.json"
    whole = manifest.read_text()
    for old, new, part in (
        ('"images": 2', '"images": 3', "images"),
        ("005.jpg", "006.jpg", "first"),
        ("[\n   3", "[\n   4", "vector"),
    ):
        changed = whole.replace('"images": 5', '"images": 4', 1) if part == "images" else whole
        assert old in whole
        manifest.write_text(changed.replace(old, new))
        (error,) = told(invoke("extract", photos, *options, "--out", out))
        assert error.startswith(f"{manifest}: {'columns' if part == 'vector' else 'shards'}: expected {{")
        assert "found {" in error


def test_a_manifest_without_its_parts_is_named(photos: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "_manifest.json"
    for content, why in (
        (
            '{"version": 2}',
            "expected the keys version, fingerprint, columns, shards, found no fingerprint, columns, shards",
        ),
        (
            "{}",
            "expected the keys version, fingerprint, columns, shards, found no version, fingerprint, columns, shards",
        ),
        ("[2]", "expected an object, found [2]"),
        ("{", "not JSON: line 1, column 2"),
        ("", "not JSON: it is an empty file"),
    ):
        manifest.write_text(content)
        (error,) = told(invoke("search", tmp_path, "--like", photos / "000.jpg"))
        assert error.startswith(f"{manifest}: {why}")
        assert error.endswith("restore this file, or extract the features again into another folder")


@pytest.mark.parametrize("version", [1, 2])
def test_good_shards_are_not_blamed_for_the_manifest_of_another_job(
    version: int, photos: Path, features: Path, tmp_path: Path
) -> None:
    """One must not delete them before the manifest is known to be right."""
    own, other = tmp_path / "own", tmp_path / "other"
    shutil.copytree(features, own)
    options = ("--boxes", "grid:2x2", *OPTIONS, *SEVERAL, "--pool", "max", "--output-size", "vector", "--out", other)
    assert invoke("extract", *sorted(photos.iterdir())[::-1], features.parent / "broken.jpg", *options).exit_code == 1
    for folder in (own, other) if version == 1 else ():
        forget_records(folder)
    shutil.copy(other / "_manifest.json", own)
    (error,) = told(invoke("search", own, "--like", photos / "000.jpg"))
    shard = own / "features-00000-of-00003.parquet"
    assert error.startswith(f"{shard}: belongs to another job than _manifest.json: ")
    images = f"first image: expected {photos / '011.jpg'}, found {photos / '000.jpg'}"
    assert (images if version == 1 else 'pooling.rule: expected "max", found "exact"') in error
    assert error.endswith(
        "; if the shards are right, put back their _manifest.json; if not, delete this shard, and rerun the command "
        "that started this job"
    )
    shutil.copy(features / "_manifest.json", own)
    assert version == 1 or invoke("search", own, "--like", photos / "000.jpg").exit_code == 0
