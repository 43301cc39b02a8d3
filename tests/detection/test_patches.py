"""Large images in patches: where the patches are, their pixels, and detections that are merged over the image."""

from __future__ import annotations

import doctest
import math
import tracemalloc
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from roialign import rotated_iou
from roialign.detection import PatchSettings, TwoStageDetector, patch_data, patch_detection, patches
from roialign.detection.box_kinds import ROTATED, UPRIGHT
from roialign.detection.coco import open_image, read_part
from roialign.detection.patch_detection import detect_in_patches, parts_of_objects, shares_of
from roialign.detection.patches import Patch, read_patch, read_reduced
from roialign.detection.rotated_boxes import hulls
from roialign.detection.transform import MEAN
from roialign.files.problems import DatasetError
from roialign.files.run_lengths import mask_of
from tests.detection.colour_detector import colour_detector, painted

Array = np.ndarray[Any, np.dtype[Any]]
MODELS = ("faster-rcnn", "mask-rcnn", "oriented-rcnn")

BY_HAND = {
    "DOTA's": ((1024, 200), (4000, 1024), ([0, 824, 1648, 2472, 2976], [0])),
    "an exact fit": ((100, 20), (180, 260), ([0, 80], [0, 80, 160])),
    "one pixel more": ((100, 20), (181, 101), ([0, 80, 81], [0, 1])),
    "no overlap": ((100, 0), (200, 201), ([0, 100], [0, 100, 101])),
    "a smaller image": ((100, 20), (30, 40), ([0], [0])),
    "one pixel": ((100, 20), (1, 1), ([0], [0])),
    "patches of one pixel": ((1, 0), (3, 2), ([0, 1, 2], [0, 1])),
    "nearly all shared": ((10, 9), (13, 10), ([0, 1, 2, 3], [0])),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_patches_are_where_the_tools_for_dota_put_them(case: str) -> None:
    (size, overlap), (width, height), (columns, rows) = BY_HAND[case]
    patches = PatchSettings(size, overlap)
    assert list(patches.patches(width, height)) == [Patch(x, y, size) for y in rows for x in columns]
    assert patches.count(width, height) == len(rows) * len(columns)


def test_more_patches_than_can_be_meant_are_refused() -> None:
    assert PatchSettings(64, 63).total([(192, 192)] * 12) == 12 * 129**2
    assert PatchSettings(1, 0).total([(1000, 10_000)]) == 10**7
    with pytest.raises(ValueError, match=r"^size, overlap: expected at most 10000000 patches .* 10000001: "):
        PatchSettings(1, 0).total([(1000, 10_000), (1, 1)])


def test_a_patch_that_is_nothing_but_padding_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (320, 200)).save(tmp_path / "a.png")
    picture = open_image(tmp_path / "a.png")
    assert read_patch(picture, Patch(0, 0, 1024)).shape == (3, 1024, 1024)
    with pytest.raises(
        DatasetError, match=r"a\.png: expected patches of at most 8192 pixels per side for .* 320 x 200 .*, got 8193"
    ):
        read_patch(picture, Patch(0, 0, 8193))
    Image.new("L", (5000, 1)).save(tmp_path / "b.png")
    with pytest.raises(DatasetError, match="at most 10000 pixels per side for an image of 5000 x 1 pixels, got 10001"):
        read_patch(open_image(tmp_path / "b.png"), Patch(0, 0, 10_001))


@given(st.integers(1, 60), st.integers(0, 59), st.integers(1, 300), st.data())
def test_what_fits_into_the_overlap_lies_whole_in_a_patch(size: int, overlap: int, length: int, data: Any) -> None:
    overlap = min(overlap, size - 1)
    starts = [patch.x for patch in PatchSettings(size, overlap).patches(length, 1)]
    extent = data.draw(st.integers(0, min(overlap, length)))
    first = data.draw(st.integers(0, length - extent))
    assert any(start <= first and first + extent <= start + size for start in starts)
    assert starts == sorted(set(starts))
    assert all(start + size <= max(length, size) for start in starts)


def test_the_default_overlap_is_that_of_the_tools_but_at_most_a_fifth() -> None:
    assert PatchSettings() == PatchSettings(1024, 200)
    assert (PatchSettings(512).overlap, PatchSettings(4).overlap) == (102, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "size: expected at least 1, got 0"),
        ((10**6,), "size: expected at most 32768, got 1000000"),
        ((100, 100), "overlap: expected less than 100, the size of a patch, got 100"),
        ((100, -1), "overlap: expected at least 0, got -1"),
    ],
)
def test_impossible_patches_are_named(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        PatchSettings(*arguments)
    with pytest.raises(TypeError, match=r"^size: expected an int, got 1\.5$"):
        PatchSettings(1.5)  # type: ignore[arg-type]


def test_patches_of_numpy_numbers_are_plain_numbers() -> None:
    settings = PatchSettings(np.int64(64), np.int32(16))  # type: ignore[arg-type]
    assert (type(settings.size), type(settings.overlap)) == (int, int)
    assert settings == PatchSettings(64, 16)


def test_a_patch_beyond_the_image_is_padded_with_what_the_network_sees_as_zero(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = read_part(open_image(tmp_path / "a.png"))
    picture = open_image(tmp_path / "a.png")
    patch = read_patch(picture, Patch(12, 0, 8))
    torch.testing.assert_close(patch[:, :5], whole[:, :, 12:], rtol=0, atol=0)
    assert patch.shape == (3, 8, 8)
    assert torch.equal(patch[:, 5:], torch.tensor(MEAN)[:, None, None].expand(3, 3, 8))


@pytest.mark.parametrize(
    ("size", "block"), [((23, 9), (5, 5)), ((23, 3), (3, 5)), ((4, 4), (1, 1)), ((1, 600), (120, 1))]
)
def test_a_large_image_is_reduced_to_means(tmp_path: Path, size: tuple[int, int], block: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    reduced, found = read_reduced(open_image(tmp_path / "a.png"), 5)
    assert found == block
    rows, columns = size[1] // block[0], size[0] // block[1]
    cut = pixels[: rows * block[0], : columns * block[1]].reshape(rows, block[0], columns, block[1], 3)
    np.testing.assert_allclose(reduced.permute(1, 2, 0).numpy() * 255, cut.mean(axis=(1, 3)), rtol=0, atol=1e-3)


def _detected(path: Path, model: TwoStageDetector, patches: PatchSettings) -> tuple[dict[str, Tensor], list[Any]]:
    return detect_in_patches(model, open_image(path), patches)


def _truth(boxes: Array, model: str) -> Array:
    """The objects as a detector finds them: rotated, or as their upright hulls with an angle of 0."""
    if model == "oriented-rcnn":
        return boxes
    left, top, right, bottom = hulls(torch.tensor(boxes)).numpy().T
    return np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, 0 * left], axis=1)


def _overlaps(found: dict[str, Tensor], boxes: Array, model: str) -> Array:
    kind = ROTATED if model == "oriented-rcnn" else UPRIGHT
    rows = kind.as_rotated(found[kind.key].double()).numpy()
    return np.asarray(rotated_iou(rows, _truth(boxes, model), clockwise=True))


@pytest.mark.parametrize("model", MODELS)
def test_an_object_on_a_border_is_found_once(model: str, tmp_path: Path) -> None:
    """Whatever a patch shows of an object scores higher than the whole object in another patch."""
    first = [[80, 40, 24, 12, 0.4], [100, 100, 20, 20, 0], [70, 150, 26, 8, -1.2]]
    boxes = np.array([*first, [20, 20, 30, 10, 0], [185, 185, 20, 12, 1]])
    painted(tmp_path / "a.png", (200, 200), boxes)
    patches = PatchSettings(100, 30)
    found, masks = _detected(tmp_path / "a.png", colour_detector(model), patches)
    overlaps = _overlaps(found, boxes, model)
    assert len(found["scores"]) == len(boxes), "each once"
    assert (overlaps.max(axis=0) > 0.75).all(), "and whole"
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
    assert torch.allclose(found["boxes"], hulls(found["rotated_boxes"])) if "rotated_boxes" in found else True
    assert len(masks) == (len(boxes) if model == "mask-rcnn" else 0)
    whole = np.asarray(Image.open(tmp_path / "a.png"))
    colours = {
        tuple(colour): int((whole == colour).all(axis=2).sum()) for colour in np.unique(whole.reshape(-1, 3), axis=0)
    }
    for mask in masks:
        pixels = mask_of(mask.in_image(200, 200)).astype(bool)
        (colour,) = np.unique(whole[pixels], axis=0)
        assert pixels.sum() == colours[tuple(colour)], "the whole mask, where it belongs"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.sampled_from(MODELS))
def test_every_object_that_fits_into_the_overlap_is_found_once(tmp_path: Path, seed: int, model: str) -> None:
    random = np.random.default_rng(seed)
    overlap = int(random.integers(24, 40))
    size = int(random.integers(overlap + 10, 130))
    width, height = (int(side) for side in random.integers(1, 300, 2))
    largest = overlap / (1 + 2 * 0.05) / math.sqrt(2)  # with room between it and the borders
    places = [(x, y) for x in range(20, width - 19, 40) for y in range(20, height - 19, 40)]
    sides = random.uniform(0.4 * largest, largest / math.sqrt(2), (len(places), 2))
    angles = random.uniform(-1.5, 1.5, (len(places), 1))
    boxes = np.concatenate([np.array(places, dtype=np.float64).reshape(-1, 2), sides, angles], axis=1)
    painted(tmp_path / "a.png", (width, height), boxes)
    found, _ = _detected(tmp_path / "a.png", colour_detector(model), PatchSettings(size, overlap))
    whole = colour_detector(model)([read_part(open_image(tmp_path / "a.png"))])[0]
    assert len(found["scores"]) == len(boxes)
    order, expected = (rows["boxes"][:, 0].mul(1000).add(rows["boxes"][:, 1]).argsort() for rows in (found, whole))
    assert torch.allclose(found["boxes"][order], whole["boxes"][expected], rtol=0, atol=0.01), "as in the whole image"


@pytest.mark.parametrize("model", MODELS)
def test_an_object_that_is_larger_than_the_overlap_is_not_lost(model: str, tmp_path: Path) -> None:
    painted(tmp_path / "a.png", (300, 60), np.array([[150.0, 30, 260, 20, 0]]))
    found, _ = _detected(tmp_path / "a.png", colour_detector(model), PatchSettings(100, 20))
    rows = found["boxes"]
    assert len(rows) > 1, "in parts"
    assert rows[:, 0].min() < 21
    assert rows[:, 2].max() > 280 - 20 - 1, "except for what only the last patch shows"
    painted(tmp_path / "b.png", (300, 60), np.array([[75.0, 30, 46, 20, 0]]))
    found, _ = _detected(tmp_path / "b.png", colour_detector(model), PatchSettings(100, 20))
    assert found["boxes"].tolist() == [pytest.approx([52, 20, 98, 40], abs=1)], "whole, at a border"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 2), (60, 40)])
def test_a_patch_may_be_larger_than_the_image(model: str, size: tuple[int, int], tmp_path: Path) -> None:
    from tests.detection.colour_detector import settings_of

    Image.new("RGB", size, "#808080").save(tmp_path / "a.png")
    torch.manual_seed(0)
    detector = settings_of(model).build().eval()
    detector.roi_heads.settings = type(detector.roi_heads.settings)(score_threshold=0.0, nms_threshold=1.0)
    found, masks = _detected(tmp_path / "a.png", detector, PatchSettings(96, 20))
    assert len(masks) == (len(found["scores"]) if model == "mask-rcnn" else 0)
    centres = 0.5 * (found["boxes"][:, :2] + found["boxes"][:, 2:])
    assert (centres <= torch.tensor(size) + 1e-4).all(), "none beyond the image"
    if model != "oriented-rcnn":
        assert (found["boxes"] <= torch.tensor([*size, *size])).all()
    for mask in masks:
        assert mask.in_image(size[1], size[0])["size"] == [size[1], size[0]]


def test_an_image_without_detections_has_none(tmp_path: Path) -> None:
    Image.new("RGB", (90, 50)).save(tmp_path / "a.png")
    for model in MODELS:
        found, masks = _detected(tmp_path / "a.png", colour_detector(model), PatchSettings(40, 10))
        assert ([len(values) for values in found.values()], masks) == ([0] * len(found), [])
        assert set(found) == {"boxes", "scores", "labels"} | ({"rotated_boxes"} if model == "oriented-rcnn" else set())


def test_classes_do_not_suppress_each_other(tmp_path: Path) -> None:
    painted(tmp_path / "a.png", (150, 60), np.array([[80.0, 30, 24, 12, 0.4]]))
    detector = colour_detector("faster-rcnn")
    forward, number = detector.forward, iter(range(1, 9))

    def other(images: list[Tensor]) -> Any:
        (found,) = forward(images)
        return [{**found, "labels": torch.full_like(found["labels"], next(number))}]

    detector.forward = other  # type: ignore[method-assign]
    found, _ = _detected(tmp_path / "a.png", detector, PatchSettings(100, 50))
    assert sorted(found["labels"].tolist()) == [1, 2]


def test_parts_by_hand() -> None:
    """A cut detection is left out for a larger or whole one of its class in another patch, and for nothing else."""
    patches, size = [Patch(0, 0, 100), Patch(80, 0, 100)], SimpleNamespace(width=180, height=100)
    whole, cut, small = (84.0, 10.0, 130.0, 30.0), (84.0, 10.0, 100.0, 30.0), (90.0, 12.0, 99.0, 20.0)

    def parts(*found: tuple[tuple[float, ...], int, int]) -> list[bool]:
        boxes, labels, places = (list(column) for column in zip(*found, strict=True))
        rows = torch.tensor(boxes), torch.tensor(labels), torch.tensor(places)
        return parts_of_objects(UPRIGHT, *rows, patches, PatchSettings(100, 20), size).tolist()  # type: ignore[arg-type]

    assert parts((cut, 1, 0), (whole, 1, 1)) == [True, False]
    assert parts((cut, 1, 0), (whole, 2, 1)) == [False, False], "another class"
    assert parts((cut, 1, 0), (whole, 1, 0)) == [False, False], "the same patch"
    assert parts((cut, 1, 0), (small, 1, 1)) == [False, False], "less than half of it"
    assert parts(((84.0, 10.0, 95.0, 30.0), 1, 0), (whole, 1, 1)) == [False, False], "not cut"


def test_shares_by_hand() -> None:
    rows = [[10, 10, 8, 4, 0], [10, 10, 4, 2, math.pi / 2], [50, 50, 1, 1, 0], [10, 10, 0, 0, 0]]
    others = torch.tensor([[10, 10, 20, 20, 0.3], [12, 10, 8, 4, 0]], dtype=torch.float64)
    expected = torch.tensor([[1, 0.75], [1, 1], [0, 0], [0, 0]], dtype=torch.float64)
    shares = shares_of(torch.tensor(rows, dtype=torch.float64), others)
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-12)


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    detector, peaks = colour_detector("oriented-rcnn"), []
    for side in (512, 1536):
        boxes = np.column_stack([random.uniform(0, side, (9, 2)), np.tile([20, 9, 0.5], (9, 1))])
        painted(tmp_path / "a.png", (side, side), boxes)
        picture = open_image(tmp_path / "a.png")
        tracemalloc.start()
        detect_in_patches(detector, picture, PatchSettings(256, 50))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("module", [patches, patch_data, patch_detection])
def test_the_examples_run(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert (result.attempted > 0, result.failed) == (True, 0)
