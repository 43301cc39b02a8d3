"""Wrong arguments from Python are named before anything is loaded or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roialign.features import (
    BackboneOptions,
    DetectedBoxes,
    FileBoxes,
    GridBoxes,
    Job,
    JobSettings,
    Listener,
    Normalisation,
    RayEngine,
    Report,
    make_backbone,
    prepare,
    run,
    tokens_to_map,
)
from roialign.features.engine import run_shards
from tests.features.jobs import contents
from tests.features.photographs import write_photographs

SETTINGS = JobSettings("pixels", sizes=((1, 1),), shard_images=1)
OPTIONS = BackboneOptions(image_size=32)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_photographs(tmp_path_factory.mktemp("photos"), 2, shorter=40))


def refused(kind: type[Exception], message: str, make: Any, *arguments: Any, **named: Any) -> None:
    with pytest.raises(kind) as caught:
        make(*arguments, **named)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("backbone", None, TypeError),
        ("sizes", 7, TypeError),
        ("sizes", (7, 7), TypeError),
        ("sizes", "7,vector", TypeError),
        ("sizes", ((0, 7),), ValueError),
        ("sizes", ((2.0, 2.0),), TypeError),
        ("sizes", ((7, 7), [7, 7]), ValueError),
        ("rule", "bogus", ValueError),
        ("rule", None, ValueError),
        ("levels", 16, TypeError),
        ("levels", "x", ValueError),
        ("levels", "", ValueError),
        ("levels", "8,8", ValueError),
        ("levels", "8,last", ValueError),
        ("levels", "0", ValueError),
        ("dtype", "float99", ValueError),
        ("batch_size", 0, ValueError),
        ("batch_size", "8", TypeError),
        ("file_format", "csv", ValueError),
        ("shard_bytes", -1, ValueError),
        ("shard_images", 2.5, TypeError),
    ],
)
def test_settings(name: str, value: object, kind: type[Exception]) -> None:
    refused(kind, f"{name}: expected", JobSettings, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("image_size", "320", TypeError),
        ("image_size", 0, ValueError),
        ("image_size", (32,), ValueError),
        ("image_size", (0, 32), ValueError),
        ("image_size", True, TypeError),
        ("normalise", ((0, 0, 0), (1, 1, 1)), TypeError),
        ("weights", Path("weights.pt"), TypeError),
        ("prefix_tokens", -1, ValueError),
        ("patch_size", 0, ValueError),
        ("device", 0, TypeError),
        ("precision", "fp16", ValueError),
        ("channels_last", "yes", TypeError),
        ("threads", 0, ValueError),
        ("threads", None, TypeError),
    ],
)
def test_options(name: str, value: object, kind: type[Exception]) -> None:
    refused(kind, f"{name}: expected", BackboneOptions, **{name: value})


@pytest.mark.parametrize(
    ("mean", "deviation", "kind", "message"),
    [
        (0.5, (1, 1, 1), TypeError, "mean: expected three finite numbers, one per channel, got 0.5"),
        ((0, 0), (1, 1, 1), ValueError, "mean: expected three finite numbers, one per channel, got (0, 0)"),
        ((0, 0, np.nan), (1, 1, 1), ValueError, "mean[2]: expected a finite number, got nan"),
        ((0, 0, 0), (1, 0, 1), ValueError, "deviation[1]: expected a positive number, got 0"),
        ((0, 0, 0), (-1.0, 1, 1), ValueError, "deviation[0]: expected a positive number, got -1.0"),
        ((0, 0, 0), (1, np.inf, 1), ValueError, "deviation[1]: expected a positive number, got inf"),
        ((0, 0, 0), ("1", 1, 1), TypeError, "deviation[0]: expected a number, got '1'"),
        ((0, 0, 0), "111", TypeError, "deviation: expected three positive numbers, one per channel, got '111'"),
    ],
)
def test_a_normalisation(mean: Any, deviation: Any, kind: type[Exception], message: str) -> None:
    refused(kind, message, Normalisation, mean, deviation)
    usual = Normalisation(mean=np.arange(3), deviation=[1, 2, 3])  # type: ignore[arg-type]
    assert usual == Normalisation((0.0, 1.0, 2.0), (1.0, 2.0, 3.0))


def test_boxes() -> None:
    refused(TypeError, "rows: expected an int", GridBoxes, 1.5, 1)
    refused(ValueError, "columns: expected at least 1", GridBoxes, 1, 0)
    refused(ValueError, "score_threshold: expected", DetectedBoxes, 2.0)
    refused(ValueError, "score_threshold: expected", DetectedBoxes, float("nan"))
    refused(TypeError, "score_threshold: expected", DetectedBoxes, "0.5")
    refused(TypeError, "groups: expected a Path", FileBoxes, {"a.png": []})
    refused(TypeError, "groups: expected Box objects for a.png", FileBoxes, {Path("a.png"): [(0, 0, 1, 1)]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", Path("a.png")),
        ("images", "a.png"),
        ("images", [Path("a.png"), 3]),
        ("boxes", "grid:2x2"),
        ("settings", {"backbone": "pixels"}),
        ("options", {}),
    ],
)
def test_a_job(name: str, value: object, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "images": [],
        "boxes": GridBoxes(1, 1),
        "out": tmp_path / "out",
        "settings": SETTINGS,
        "options": OPTIONS,
    }
    refused(TypeError, f"{name}: expected", prepare, **{**arguments, name: value})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("part", (0, 1), ValueError),
        ("part", (2, 1), ValueError),
        ("part", (1, 0), ValueError),
        ("part", (-1, 4), ValueError),
        ("part", "1/4", TypeError),
        ("part", (1.0, 4), TypeError),
        ("readers", -1, ValueError),
        ("readers", None, TypeError),
        ("engine", "ray", TypeError),
        ("listener", print, TypeError),
        ("listener", Listener, TypeError),
        ("listener", 0, TypeError),
        ("engine", "", TypeError),
    ],
)
def test_a_run(name: str, value: object, kind: type[Exception], images: list[Path], tmp_path: Path) -> None:
    job = prepare(images, GridBoxes(1, 1), tmp_path / "out", SETTINGS, OPTIONS)
    refused(kind, f"{name}: ", run, job, **{name: value})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_manifest.json"]


def test_levels_may_be_names_or_strides() -> None:
    for levels in ("default", "last", "all", "by-size", "16", "8, 16"):
        assert JobSettings(levels=levels).levels == levels


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("address", 6379, TypeError),
        ("workers", "2", TypeError),
        ("workers", 0, ValueError),
        ("readers", 1.5, TypeError),
        ("readers", -1, ValueError),
        ("retries", None, TypeError),
        ("retries", -1, ValueError),
    ],
)
def test_a_ray_engine(name: str, value: object, kind: type[Exception]) -> None:
    refused(kind, f"{name}: expected", RayEngine, **{name: value})


def test_shards_of_a_scheduler(images: list[Path], tmp_path: Path) -> None:
    job = prepare(images, GridBoxes(1, 1), tmp_path / "out", SETTINGS, OPTIONS)

    def process(shards: Any = job.shards, **named: Any) -> None:
        more = {"readers": 0, "report": Report(), "listener": Listener(), **named}
        run_shards(job.work, shards, str(job.out), **more)

    refused(ValueError, "readers: expected at least 0", process, readers=-1)
    refused(TypeError, "readers: expected an int", process, readers="2")
    refused(TypeError, "shards: expected a sequence", process, job.shards[0])
    refused(TypeError, "report: expected an instance of Report", process, report=None)
    refused(TypeError, "listener: expected an instance of Listener", process, listener=None)
    process()
    assert not job.missing()


def test_names_and_tokens() -> None:
    refused(TypeError, "backbone: expected a string", make_backbone, Path("pixels"))
    refused(ValueError, "normalise: expected", make_backbone, "pixels", BackboneOptions(normalise=""))
    refused(ValueError, "prefix_tokens: expected", tokens_to_map, np.zeros((1, 5, 8)), (2, 3), -1)
    refused(TypeError, "tokens: expected", tokens_to_map, [[[1]]], (1, 1), 0)


def test_paths_may_be_strings_and_integers_those_of_numpy(images: list[Path], tmp_path: Path) -> None:
    def bytes_of(job: Job) -> dict[str, bytes]:
        run(job, readers=0)
        return contents(job.out)

    one = prepare(images, GridBoxes(2, 2), tmp_path / "one", SETTINGS, OPTIONS)
    lists = JobSettings("pixels", sizes=[[1, 1]], shard_images=np.int64(1))  # type: ignore[list-item, arg-type]
    options = BackboneOptions(image_size=np.int64(32))  # type: ignore[arg-type]
    other = prepare(map(str, images), GridBoxes(2, np.int64(2)), str(tmp_path / "two"), lists, options)  # type: ignore[arg-type]
    assert bytes_of(one) == bytes_of(other)
