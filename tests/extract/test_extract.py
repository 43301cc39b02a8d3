"""Reading inputs, pooling them, writing the result in one step, and the pictures."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from pyarrow import parquet

import roialign
from roialign.extract.drawing import Window, label_boxes
from roialign.extract.inputs import InputError, average_pool, read_image, read_input
from roialign.extract.output import FeatureStore, atomic_write, text_array, write_npz
from roialign.extract.pipeline import Settings, extract
from roialign.extract.plot import plot_roi_align
from roialign.extract.steps import roi_steps
from roialign.files.boxes import Box
from roialign.files.problems import Problems
from roialign.reference import bilinear
from tests.extract.extraction import box, found
from tests.tables.paths import EXAMPLES

# Inputs


def test_an_image_is_turned_upright_and_read_as_rgb(tmp_path: Path) -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.dtype == np.float32
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))


def test_every_kind_of_image_has_three_channels(tmp_path: Path) -> None:
    grey = np.array([[0, 100, 255]], dtype=np.uint8)
    deep = np.array([[0, 1000, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep.astype(np.float32) / 7).save(tmp_path / "float.tif")
    Image.fromarray(grey > 50).save(tmp_path / "bits.png")
    for name, values in (("grey.png", grey), ("deep.png", deep), ("float.tif", deep.astype(np.float32) / 7)):
        np.testing.assert_array_equal(read_image(tmp_path / name), np.repeat(values[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[0, :, 0], [0, 255, 255])


def test_transparent_pixels_are_shown_over_black(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png")[0], [[200, 100, 50], [0, 0, 0], [40, 20, 10]])
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode=None).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png", transparency=1)
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png")[0], [[10, 20, 30], [0, 0, 0]])


def test_feature_maps_of_either_layout_and_rank(tmp_path: Path) -> None:
    features = np.arange(24.0, dtype=np.float16).reshape(2, 3, 4)
    np.save(tmp_path / "chw.npy", features)
    np.save(tmp_path / "nchw.npy", features[None])
    np.save(tmp_path / "hwc.npy", features.transpose(1, 2, 0))
    np.savez(tmp_path / "one.npz", features)
    np.savez(tmp_path / "two.npz", first=features, second=2 * features)
    for name, layout, array in (
        ("chw.npy", "NCHW", None),
        ("nchw.npy", "NCHW", None),
        ("hwc.npy", "NHWC", None),
        ("one.npz", "NCHW", None),
        ("two.npz", "NCHW", "first"),
    ):
        read = read_input(tmp_path / name, layout=layout, array_name=array)
        assert not read.is_image
        assert read.features.dtype == np.float16
        np.testing.assert_array_equal(read.features, features[None])


def save_pickled(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.png", lambda _: None, "No such file"),
        ("a.png", lambda path: path.mkdir(), "expected a file, found a folder"),
        ("a.png", lambda path: path.write_text("no image"), "cannot be read as an image: not an image"),
        ("a.npy", lambda path: path.write_text("no array"), ""),
        ("a.npz", lambda path: path.write_bytes(b"PK\3\4 no archive"), "damaged, cut short, or not saved by NumPy"),
        ("a.npy", lambda path: np.save(path, np.zeros((2, 2))), "expected a feature map [C, H, W]"),
        ("a.npy", lambda path: np.save(path, np.zeros((2, 3, 4, 5))), "or [1, C, H, W], found shape [2, 3, 4, 5]"),
        ("a.npy", lambda path: np.save(path, np.zeros((3, 0, 4))), "found shape [3, 0, 4]"),
        ("a.npy", lambda path: np.save(path, np.zeros((3, 4, 4), dtype=np.uint8)), "expected dtype float64, float32"),
        ("a.npy", save_pickled, "it holds Python objects, and reading them would run code from the file"),
        ("a.npz", lambda path: np.savez(path, a=1.0, b=2.0), "expected one array, found a, b; name one of them"),
        ("a.npz", lambda path: np.savez(path), "expected one array, found none"),
    ],
)
def test_an_input_that_cannot_be_read_says_why(tmp_path: Path, name: str, write: object, message: str) -> None:
    write(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(InputError) as error:
        read_input(tmp_path / name)
    assert message in str(error.value)
    assert str(error.value)


def test_a_truncated_image_says_so(tmp_path: Path) -> None:
    whole = (EXAMPLES / "astronaut.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as an image: damaged or cut short"):
        read_input(tmp_path / "half.png")


def test_average_pool_takes_the_mean_of_what_there_is() -> None:
    features = np.random.default_rng(0).normal(size=(1, 2, 7, 9)).astype(np.float32)
    pooled = average_pool(features, 4)
    assert pooled.shape == (1, 2, 2, 3)
    assert pooled.dtype == np.float32
    for row, column in itertools.product(range(2), range(3)):
        part = features[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        np.testing.assert_allclose(pooled[0, :, row, column], part.mean(axis=(1, 2)), rtol=1e-6)


# The result


def write_half(path: Path, error: BaseException | type[BaseException] | None) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        if error is not None:
            raise error


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"old")
    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(path, error)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result"]
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["result"]


def test_an_error_of_writing_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for path, error in (
        (tmp_path / "file", full),
        (tmp_path / "folder", None),
        (tmp_path / "missing" / "file", None),
        (tmp_path / "file" / "file", None),
    ):
        with pytest.raises(OSError, match=r"\[Errno \d+\] ") as raised:
            write_half(path, error)
        assert raised.value.filename == str(path)
    elsewhere = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "input")
    with pytest.raises(FileNotFoundError) as missing:
        write_half(tmp_path / "file", elsewhere)
    assert missing.value is elsewhere, "an error that names a file is left as it is"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"old")
    script = (
        "import os, signal, sys, pathlib\n"
        "from roialign.extract.output import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code = subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode
    assert code == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_new_file_has_the_permissions_of_any_new_file_and_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_features_are_streamed_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roialign.extract.output.PIECE_BYTES", 200)  # two rows at a time
    features = np.random.default_rng(1).normal(size=(11, 3, 2, 2))
    order = np.random.default_rng(2).permutation(11)
    store = FeatureStore(tmp_path)
    store.append(features[:4].transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2))
    store.append(features[4:])
    with atomic_write(tmp_path / "r.npz") as file:
        write_npz(file, {"labels": text_array(["ä"] * 11)}, store, order, features.shape[1:], features.dtype)
    store.close()
    with np.load(tmp_path / "r.npz", allow_pickle=False) as result:
        np.testing.assert_array_equal(result["features"], features[order])
        assert result["labels"].tolist() == ["ä"] * 11
    assert os.listdir(tmp_path) == ["r.npz"]
    assert zipfile.ZipFile(tmp_path / "r.npz").testzip() is None


def maps_on_disk(folder: Path, dtype: type = np.float32) -> tuple[dict[Path, list[Box]], dict[Path, np.ndarray]]:
    """Two feature maps, and boxes that take turns between them."""
    generator = np.random.default_rng(3)
    maps: dict[Path, np.ndarray] = {
        folder / name: generator.normal(size=(4, 9, 12)).astype(dtype) for name in ("a.npy", "b.npy")
    }
    groups: dict[Path, list[Box]] = {path: [] for path in maps}
    for row, path in zip(range(7), itertools.cycle(maps), strict=False):
        x, y = generator.uniform(0, 8, size=2)
        groups[path].append(box(row, (x, y, x + 3.7, y + 4.1), path.name, f"label {row}"))
    for path, features in maps.items():
        np.save(path, features)
    return groups, maps


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


# The pictures


@pytest.mark.parametrize("sampling", ["grid", "exact", "random"])
def test_the_points_that_are_drawn_give_the_answer_that_is_drawn(tmp_path: Path, sampling: str) -> None:
    groups, maps = maps_on_disk(tmp_path, np.float64)
    path, boxes = next(iter(groups.items()))
    settings = Settings(output_size=(3, 4), sampling=sampling, seed=5, sampling_ratio=(2, 3))
    steps = roi_steps(settings.read(path), boxes, 2, settings)
    features = maps[path]
    for row, column in itertools.product(range(3), range(4)):
        total = np.zeros(len(features))
        for (y, y_share), (x, x_share) in itertools.product(steps.y.points[row], steps.x.points[column]):
            for (i, y_weight), (j, x_weight) in itertools.product(
                bilinear(y, 9, "replicate"), bilinear(x, 12, "replicate")
            ):
                total += y_share * x_share * y_weight * x_weight * features[:, i, j]
        np.testing.assert_allclose(steps.aligned[:, row, column], total, atol=1e-12)
        (top, bottom), (left, right) = steps.y.rounded[row], steps.x.rounded[column]
        np.testing.assert_array_equal(steps.rounded[:, row, column], features[:, top:bottom, left:right].max((1, 2)))


@pytest.mark.parametrize(
    ("name", "corners", "settings"),
    [
        ("photograph", (176.5, 62.0, 275.5, 191.5), Settings(stride=8)),
        ("photograph", (176.5, 62.0, 275.5, 191.5), Settings(sampling="grid", sampling_ratio=(2, 2))),
        ("map", (-100.0, 50.0, 300.0, 5000.0), Settings(spatial_scale=1 / 16)),  # far over the border
        ("map", (9.0, 9.0, 2.0, 9.0), Settings(output_size=(1, 30), sampling="grid")),  # inverted, and no points
        ("map", (100.0, 100.0, 120.0, 130.0), Settings(layout="NHWC")),  # off the map
    ],
)
def test_a_picture_of_any_box(
    tmp_path: Path, name: str, corners: tuple[float, float, float, float], settings: Settings
) -> None:
    path = EXAMPLES / "astronaut.png"
    if name == "map":
        path = tmp_path / "map.npy"
        features = np.random.default_rng(4).normal(size=(20, 30, 25)).astype(np.float16)
        features[3, 4, 5], features[2, 6, 6] = np.inf, np.nan
        np.save(path, features)
    boxes = [box(0, (1, 1, 9, 9), label="$a$ \\b"), box(1, corners, label="\N{SNOWMAN}[b]" * 20)]
    plot_roi_align(tmp_path / "picture.png", path, boxes, 1, settings)
    with Image.open(tmp_path / "picture.png") as picture:
        assert min(picture.size) > 1000
        drawn = np.asarray(picture.convert("RGB"))
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):  # RoIAlign's and RoIPool's
        assert (drawn == colour).all(axis=2).sum() > 500
    assert sorted(os.listdir(tmp_path)) == sorted({"picture.png", path.name} & {"picture.png", "map.npy"})


def test_a_box_too_large_for_a_picture_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"boxes.csv, row 0: expected a box within 1e\+07 pixels"):
        plot_roi_align(tmp_path / "p.png", EXAMPLES / "astronaut.png", [box(0, (0, 0, 1e100, 1))], 0, Settings())
    assert os.listdir(tmp_path) == []


def labels_of(*windows: Window) -> tuple[Any, list[Any]]:
    """Label boxes on axes from (0, 0) to (100, 100). Returns the axes and the places of the labels, in pixels."""
    figure = Figure(figsize=(5, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0, 100)
    axes.set_ylim(100, 0)
    label_boxes(axes, [(window, f"label {index}", "#000000") for index, window in enumerate(windows)])
    places = [text.get_window_extent() for text in axes.texts]
    assert len(places) == len(windows)
    return axes, places


def test_labels_do_not_cover_each_other() -> None:
    _, places = labels_of(Window(10, 10, 60, 60), Window(12, 12, 70, 70), Window(9, 11, 60, 90))
    assert not any(a.overlaps(b) for a, b in itertools.combinations(places, 2))


@pytest.mark.parametrize(("left", "top"), [(50, 50), (0, 0), (93, 93), (0, 93)])
def test_the_label_of_a_small_box_does_not_hide_it(left: float, top: float) -> None:
    axes, (label,) = labels_of(Window(left, top, left + 6, top + 6))
    (x0, y0), (x1, y1) = axes.transData.transform([(left, top + 6), (left + 6, top)])
    assert label.x0 >= x1 or label.x1 <= x0 or label.y0 >= y1 or label.y1 <= y0
    assert axes.bbox.x0 <= label.x0
    assert label.x1 <= axes.bbox.x1


def test_the_label_of_a_large_box_is_in_it() -> None:
    axes, (label,) = labels_of(Window(10, 10, 90, 90))
    (x0, y0), (x1, y1) = axes.transData.transform([(10, 90), (90, 10)])
    assert x0 < label.x0 < label.x1 < x1
    assert y0 < label.y0 < label.y1 < y1


def _save_tensors(file: IO[bytes]) -> None:
    torch.save({"a": torch.rand(1000, 1000)}, file)


def _save_parquet(file: IO[bytes]) -> None:
    parquet.write_table(pyarrow.table({"a": np.random.default_rng(0).random(100_000)}), file)


@pytest.mark.parametrize(
    "write",
    [
        _save_tensors,
        _save_parquet,
        lambda file: np.savez(file, a=np.zeros(1_000_000)),
        lambda file: Image.effect_noise((1000, 1000), 80).save(file, format="PNG"),
    ],
)
def test_a_full_disk_is_said_by_the_system_whoever_writes(tmp_path: Path, write: Callable[[IO[bytes]], None]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "result"
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised, atomic_write(path) as file:
            write(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (raised.value.filename, raised.value.errno) == (str(path), errno.EFBIG)
    assert os.listdir(tmp_path) == []
