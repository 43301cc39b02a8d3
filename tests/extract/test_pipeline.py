"""Results are RoIAlign of every input."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import roialign
from roialign.extract.inputs import average_pool
from roialign.extract.pipeline import Settings, extract
from roialign.files.boxes import Box
from roialign.files.doubts import Doubts
from roialign.files.problems import Problems
from tests.extract.extraction import maps_on_disk
from tests.files.boxes import found


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(output_size=(3, 5), sampling="grid", sampling_ratio=(2, 3), aligned=False, spatial_scale=0.5),
        Settings(sampling="random", seed=11, sampling_ratio=(2, 2)),
        Settings(output_size=(2, 4), layout="NHWC"),
        Settings(stride=2, backend="reference"),
    ],
    ids=["exact", "grid", "random", "NHWC", "stride"],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_a_result_is_roi_align_of_every_input(tmp_path: Path, settings: Settings, dtype: type) -> None:
    groups, maps = maps_on_disk(tmp_path, dtype)
    if settings.layout == "NHWC":
        for path, features in maps.items():
            np.save(path, features.transpose(1, 2, 0))
    problems = Problems()
    rows = extract(groups, settings, tmp_path / "out.npz", problems)
    assert not problems
    assert [row.box.row for row in rows] == list(range(7))
    expected = {}
    for path, boxes in groups.items():
        pooled = roialign.roi_align(
            average_pool(maps[path][None], settings.stride),
            [np.array([b.corners for b in boxes])],
            settings.output_size,
            settings.spatial_scale / settings.stride,
            settings.sampling_ratio,
            aligned=settings.aligned,
            sampling=settings.sampling,
            seed=settings.seed,
            backend=settings.backend,
        )
        expected.update({b.row: features for b, features in zip(boxes, pooled, strict=True)})
    wanted = np.stack([expected[row] for row in range(7)])
    every_box = sorted(itertools.chain(*groups.values()), key=lambda b: b.row)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as result:
        assert result["features"].dtype == dtype
        wanted = wanted if settings.layout == "NCHW" else wanted.transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(result["features"], wanted)
        np.testing.assert_array_equal(result["boxes"], [b.corners for b in every_box])
        assert result["images"].tolist() == [str(tmp_path / str(b.image)) for b in every_box]
        assert result["labels"].tolist() == [f"label {row}" for row in range(7)]
        assert result["rows"].tolist() == list(range(7))
        assert json.loads(str(result["settings"]))["sampling"] == settings.sampling


def test_inputs_that_differ_from_the_first_are_reported(tmp_path: Path) -> None:
    groups, maps = maps_on_disk(tmp_path)
    first, second = maps
    np.save(second, np.zeros((5, 9, 12), dtype=np.float32))
    problems = Problems()
    rows = extract(groups, Settings(), tmp_path / "out.npz", problems)
    assert [row.box.row for row in rows] == [0, 2, 4, 6]
    (problem,) = found(problems)
    assert problem == (
        f"{second}: expected features [4, 7, 7] of float32, as for {first}, got [5, 7, 7] of float32; 3 boxes skipped"
    )


def test_no_boxes_make_an_empty_result(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 9, 12)))
    assert extract({tmp_path / "a.npy": []}, Settings(), tmp_path / "out.npz", Problems()) == []
    with np.load(tmp_path / "out.npz", allow_pickle=False) as result:
        assert result["features"].shape == (0, 5, 7, 7)
        assert result["boxes"].shape == (0, 4)
        assert result["labels"].shape == (0,)


@pytest.mark.parametrize(
    ("settings", "stated", "is_noted"),
    [
        (Settings(), (12, 9), False),
        (Settings(), (24, 18), True),
        (Settings(spatial_scale=0.5), (24, 18), False),
        (Settings(spatial_scale=0.5), (23, 17), False),
        (Settings(stride=5), (12, 9), False),
        (Settings(stride=2), (24, 18), True),
    ],
)
def test_an_image_of_another_size_than_its_table_says_is_noted(
    settings: Settings, stated: tuple[int, int], is_noted: bool, tmp_path: Path
) -> None:
    """The sizes of images are known apart from rounding, and those of what a map was computed from are not."""
    Image.new("RGB", (12, 9)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.zeros((3, 9, 12), dtype=np.float32))
    box = Box(0, "b.csv, row 0", "a", (1.0, 1.0, 8.0, 6.0), "", stated_size=stated)
    for name, noted in (("a.png", is_noted), ("a.npy", False)):
        doubts = Doubts()
        extract({tmp_path / name: [box]}, settings, tmp_path / "out.npz", Problems(), doubts=doubts)
        assert doubts.counts == ({"size": 1} if noted else {})
