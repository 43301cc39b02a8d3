"""Sizes that are read from image files, as masks and boxes settle them; and notes about objects without a mask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roialign.detection import CocoDataset
from roialign.files.problems import Problems
from roialign.files.run_lengths import encoded
from tests.files.images import as_stored
from tests.files.images import encoded as encoded_image


def _written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("orientation", [1, 6])
def test_masks_of_the_stored_size_settle_the_size_of_a_turned_image(tmp_path: Path, orientation: int) -> None:
    """As tools write them that ignore the EXIF orientation. The boxes alone would fit both ways."""
    upright = np.zeros((10, 20, 3), dtype=np.uint8)
    upright[2:5, 12:16] = 255
    stored = as_stored(upright, 6)
    (tmp_path / "a.png").write_bytes(encoded_image(stored, orientation=orientation))
    mask = stored[..., 0] > 0
    (y, *_, bottom), (x, *_, right) = (sorted(set(axis.tolist())) for axis in np.nonzero(mask))
    box = [x, y, right + 1 - x, bottom + 1 - y]
    row = {"image_id": "1", "category_id": 1, "bbox": box, "segmentation": encoded(mask)}
    content = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "dog"}]}
    problems = Problems()
    dataset = CocoDataset(_written(tmp_path, {**content, "annotations": [row]}), tmp_path, problems)
    image, target = dataset[0]
    assert image.shape == (3, 20, 10)
    np.testing.assert_array_equal(target["masks"][0].numpy(), mask)
    np.testing.assert_array_equal(image[0].numpy() == 1, mask)
    assert not problems
    as_it_is = [remark for remark in map(str, problems.remarks) if "it is read as stored" in remark]
    assert len(as_it_is) == (orientation != 1)


def test_masks_of_square_images_settle_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded_image(np.zeros((9, 9, 3), dtype=np.uint8), orientation=6))
    row = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "segmentation": encoded(np.ones((9, 9), dtype=bool))}
    content = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "dog"}]}
    problems = Problems()
    dataset = CocoDataset(_written(tmp_path, {**content, "annotations": [row]}), tmp_path, problems)
    assert dataset[0][1]["masks"].sum() == 81
    assert [remark.kind for remark in problems.remarks] == ["image size"]


def test_a_mask_whose_size_is_not_that_of_the_file_is_an_error(tmp_path: Path) -> None:
    """Turned, but the file is not: or one of each."""
    (tmp_path / "a.png").write_bytes(encoded_image(np.zeros((20, 10, 3), dtype=np.uint8)))
    (tmp_path / "b.png").write_bytes(encoded_image(np.zeros((20, 10, 3), dtype=np.uint8), orientation=6))
    tall, wide = (encoded(np.ones(shape, dtype=bool)) for shape in ((20, 10), (10, 20)))
    rows = [
        {"image_id": image, "category_id": 1, "bbox": [1, 1, 5, 5], "segmentation": mask}
        for image, mask in ((1, wide), (1, tall), (2, tall), (2, wide))
    ]
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    content = {"images": images, "categories": [{"id": 1, "name": "dog"}], "annotations": rows}
    problems = Problems()
    CocoDataset(_written(tmp_path, content), tmp_path, problems)
    assert [problem.what for problem in problems] == [
        "segmentation: expected size [20, 10], the size of the image, got [10, 20]",
        "segmentation: expected size [10, 20], the size of the image, got [20, 10]",
    ]


def test_one_object_is_spoken_of_in_the_singular(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    rows = [
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "segmentation": outline}
        for outline in ([[1, 1, 1, 1, 1, 1]], None)
    ]
    images = [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}]
    content = {"images": images, "categories": [{"id": 1, "name": "dog"}], "annotations": rows}
    problems = Problems()
    CocoDataset(_written(tmp_path, content), tmp_path, problems)[0]
    said = [remark.what for remark in problems.remarks]
    assert said == [
        "1 of 2 objects has no outline: its box is used as a mask",
        "1 object has an outline without a pixel: in training its box is used as a mask, and in evaluation no mask can "
        "match it",
    ]


def test_images_of_one_set_that_are_read_in_two_ways_are_remarked_on(tmp_path: Path) -> None:
    """The boxes of b.png and c.png fit both ways, those of d.png only upright; e.png has no box."""
    boxes = {"a": [5, 5, 113, 35], "b": [5, 5, 30, 30], "c": [0, 0, 9, 9], "d": [5, 5, 30, 113]}
    images = [{"id": name, "file_name": f"{name}.png"} for name in "abcde"]
    rows = [{"image_id": name, "category_id": 1, "bbox": box} for name, box in boxes.items()]
    content = {"images": images, "categories": [{"id": 1, "name": "dog"}]}

    def said(number: int) -> list[str]:
        problems = Problems()
        CocoDataset(_written(tmp_path, {**content, "annotations": rows[number:]}), tmp_path, problems)
        return [str(remark) for remark in problems.remarks if remark.kind == "EXIF orientations"]

    for name in "abcde":
        (tmp_path / f"{name}.png").write_bytes(encoded_image(np.zeros((90, 120, 3), dtype=np.uint8), orientation=6))
    (remark,) = said(0)
    assert remark.startswith(
        f"{tmp_path / 'b.png'}: EXIF orientation: 2 images are read upright by default, such as this one, but "
        f"{tmp_path / 'a.png'} as stored: if all were annotated on the stored pixels"
    )
    assert said(1) == []
