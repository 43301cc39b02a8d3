"""Checkpoints: weights are found wherever scripts keep them, and what is none is called what it is."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import pytest
import torch

from roialign.detection import ModelFileError, RunError, load_model
from roialign.detection.model_files import CLASS_WEIGHT, read_classes
from roialign.detection.training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from roialign.detection.training.settings import SETTINGS_FILE, read_settings
from roialign.files.problems import FileError
from tests.files.checkpoints import SETTINGS, own, readable, saved, unreadable, weights
from tests.files.sets import content_of, write_set


@pytest.mark.parametrize("case", readable())
def test_the_weights_are_found(tmp_path: Path, case: str) -> None:
    (tmp_path / "w.pt").write_bytes(readable()[case])
    model, settings = load_model(tmp_path / "w.pt")
    assert settings == SETTINGS
    tolerance = 1e-2 if case == "half precision" else 0
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights()[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", unreadable())
def test_what_holds_no_detector_is_called_what_it_is(tmp_path: Path, case: str) -> None:
    content, message = unreadable()[case]
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as raised:
        load_model(path)
    said = str(raised.value)
    assert said.startswith(f"{path}: ")
    for foreign in ("weights_only", "PytorchStreamReader", "torch.load(", "miniz", "file an issue", "Error("):
        assert foreign not in said
    assert len(said) < 500


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        content = saved(own(weights()))
    finally:
        torch.serialization.set_crc32_options(True)
    (tmp_path / "w.pt").write_bytes(content)
    assert load_model(tmp_path / "w.pt")[1] == SETTINGS


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roialign.files.archives.LARGEST_UNPACKED", 1 << 20)
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("a/data/0", bytes(1 << 22))
    with pytest.raises(ModelFileError, match=r"expected at most \d+ GiB unpacked, found"):
        load_model(tmp_path / "w.pt")


def test_what_is_no_file_of_weights_is_called_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path: r"model\.pt: no such file",
        tmp_path / "none.pt": r"none\.pt: no such file",
        tmp_path / "pipe": "expected a file, found a device or a pipe",
        Path("/dev/zero"): "expected a file, found a device or a pipe",
        tmp_path / "a\0.pt": "no such file",
    }
    for path, message in cases.items():
        with pytest.raises(ModelFileError, match=message):
            load_model(path)


def test_a_disk_that_fails_is_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(readable()["its own"])

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(ModelFileError, match=f"^{path}: cannot be read as a weight file: Input/output error$"):
        load_model(path)


def test_names_of_classes_are_given(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(readable()["its own"])
    _, settings = load_model(tmp_path / "w.pt", classes=["lion", "wolf"])
    assert (settings.classes, settings.category_ids) == (("lion", "wolf"), (1, 2))
    with pytest.raises(ModelFileError, match="classes: expected 2 names, one per class without the background, got 3"):
        load_model(tmp_path / "w.pt", classes=["background", "lion", "wolf"])


def test_classes_are_read_from_text_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\ufeffcat\r\n\n traffic light \n", encoding="utf-8")
    (tmp_path / "names.json").write_text('["cat", "traffic light"]')
    annotations = write_set(tmp_path, content_of())
    assert read_classes("cat, traffic light") == ["cat", "traffic light"]
    assert read_classes("cat") == ["cat"]
    assert read_classes(str(tmp_path / "names.txt")) == ["cat", "traffic light"]
    assert read_classes(str(tmp_path / "names.json")) == ["cat", "traffic light"]
    assert read_classes(str(annotations)) == ["cat", "dog"]
    (tmp_path / "bad.json").write_text("{}")
    for text, message in (
        (" , ", "classes: expected names such as cat,dog"),
        (str(tmp_path / "none.txt"), r"none\.txt: No such file"),
        (str(tmp_path / "bad.json"), r"bad\.json: expected a list under 'categories', got nothing"),
        (str(tmp_path), r"expected a file, found a folder"),
    ):
        with pytest.raises(FileError, match=message):
            read_classes(text)


def test_the_files_of_a_run_are_read_in_the_same_way(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(unreadable()["a page"][0])
    with pytest.raises(RunError, match=r"checkpoint\.pt: cannot be read as a checkpoint: an HTML page"):
        load_checkpoint(tmp_path)
    (tmp_path / CHECKPOINT_FILE).write_bytes(unreadable()["a changed byte"][0])
    with pytest.raises(
        RunError, match=r"checkpoint\.pt: cannot be read as a checkpoint: damaged: the checksum of \S+ is wrong"
    ):
        load_checkpoint(tmp_path)
    (tmp_path / CHECKPOINT_FILE).write_bytes(saved({"model": {}}))
    with pytest.raises(RunError, match=r"checkpoint\.pt: expected a checkpoint with iteration, model"):
        load_checkpoint(tmp_path)
    (tmp_path / SETTINGS_FILE).write_text("[]")
    with pytest.raises(RunError, match=r"settings\.json: cannot be read as the settings of a run: expected a dict"):
        read_settings(tmp_path)


def test_a_weight_of_the_wrong_shape_or_type_is_named(tmp_path: Path) -> None:
    first = next(name for name, value in weights().items() if value.is_floating_point())
    wrong = {
        "cls_score.weight: expected the shape [classes + 1, features], got [3]": {CLASS_WEIGHT: torch.zeros(3)},
        f"{first}: expected float weights, got int8": own({**weights(), first: weights()[first].to(torch.int8)}),
    }
    for message, content in wrong.items():
        (tmp_path / "w.pt").write_bytes(saved(content))
        with pytest.raises(ModelFileError) as raised:
            load_model(tmp_path / "w.pt")
        assert message in str(raised.value)
