"""Files that are spelled in another Unicode form, as they are if a folder was copied from macOS."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from roialign.detection import CocoDataset
from roialign.files.dota import read_dota_records
from roialign.files.folders import expand, path_of
from roialign.files.problems import Problems
from roialign.files.similar import same_file, similar_file
from tests.files.sets import changed, write_set

ONE, OTHER = (unicodedata.normalize(form, "Grüße") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("there", "named"), [(ONE, OTHER), (OTHER, ONE)])
def test_a_file_is_found_in_every_unicode_form(tmp_path: Path, there: str, named: str) -> None:
    path, name = tmp_path / there / f"{there}.png", Path(named, f"{named}.png")
    path.parent.mkdir()
    path.write_bytes(b"")
    assert same_file(tmp_path / name) == path
    assert path_of(name.as_posix(), tmp_path) == path
    (tmp_path / "list.txt").write_text(str(tmp_path / name), encoding="utf-8")
    assert expand([tmp_path / "list.txt"], [".png"]) == [path]
    for other in (tmp_path / named / "Größe.png", Path(named, "\0"), Path(f"{named}-2")):
        assert same_file(other) == other


def test_of_two_files_the_exact_name_counts(tmp_path: Path) -> None:
    for name in (ONE, OTHER):
        (tmp_path / name).write_bytes(b"")
    assert [same_file(tmp_path / name) for name in (ONE, OTHER)] == [tmp_path / ONE, tmp_path / OTHER]
    between = tmp_path / unicodedata.normalize("NFD", "Ü-Ü").replace("U\u0308", "Ü", 1)
    for form in ("NFC", "NFD"):
        between.with_name(unicodedata.normalize(form, between.name)).write_bytes(b"")
    assert same_file(between) == between, "two files have this name"


@pytest.mark.parametrize(("there", "named"), [(ONE, OTHER), (OTHER, ONE)])
@pytest.mark.parametrize("size", [{}, {"width": ..., "height": ...}])
def test_a_dataset_finds_its_images(tmp_path: Path, there: str, named: str, size: dict[str, object]) -> None:
    annotations = write_set(tmp_path, changed("images", 0, file_name=f"{named}.png", **size))
    images = annotations.parent / "images"
    (images / f"{named}.png").rename(images / f"{there}.png")
    dataset = CocoDataset(annotations, images, Problems())
    assert dataset.path(0) == images / f"{there}.png"
    assert len(dataset[0][1]["boxes"]) == 2


@pytest.mark.parametrize(("there", "named"), [(ONE, OTHER), (OTHER, ONE)])
def test_a_label_file_finds_its_image(tmp_path: Path, there: str, named: str) -> None:
    labels, images = tmp_path / "labelTxt", tmp_path / "images"
    labels.mkdir()
    images.mkdir()
    Image.new("RGB", (60, 40)).save(images / f"{there}.png")
    (labels / f"{named}.txt").write_text("0 0 10 0 10 6 0 6 plane 1")
    problems = Problems()
    (row,) = read_dota_records(labels, images, problems)["images"]
    assert not problems
    assert (row["id"], row["file_name"]) == (named, f"{there}.png")


def test_a_file_of_an_escaped_name_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "my cat.png").write_bytes(b"")
    assert similar_file(tmp_path / "photos/My%20Cat.png") == tmp_path / "my cat.png"
    assert similar_file(tmp_path / "my%20dog.png") is None
