"""Processes that read images ahead: one that is killed takes no image with it, and one that cannot start says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import roialign
from roialign.features import make_backbone, readers
from roialign.features.image_readers import Readers, Wanted
from roialign.features.images import ReadImage
from tests.features.photographs import write_photographs


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return write_photographs(tmp_path / "photos")


@pytest.mark.parametrize("half_an_answer", [False, True])
def test_a_reader_that_is_killed_takes_no_image_with_it(
    images: list[Path], half_an_answer: bool, tmp_path: Path
) -> None:
    """At any moment, half of an answer written among them: that of a large image does not fit in a pipe."""
    large = tmp_path / "large.png"
    Image.new("RGB", (2000, 1500)).save(large)
    wanted = [Wanted(image, None) for image in [*images, *[large] * 4, *images]]
    with Readers(2, make_backbone("pixels").image_size) as readers:
        stream = readers.read(wanted)
        answers = [next(stream) for _ in range(len(images) - 2 if half_an_answer else 1)]
        if half_an_answer:
            time.sleep(2)  # both processes have read a large image, and wait for somebody to take it
        assert len(readers.process_ids) == 2
        for process in readers.process_ids:
            os.kill(process, signal.SIGKILL)
        answers += list(stream)
    assert len(answers) == len(wanted)
    assert all(isinstance(answer, ReadImage) for answer in answers)


def test_a_reader_that_is_killed_before_it_is_ready_is_replaced(images: list[Path]) -> None:
    with Readers(1, make_backbone("pixels").image_size) as started:
        stream = started.read([Wanted(image, None) for image in images])
        started._readers[0].ask(Wanted(images[0], None))
        (first,) = started.process_ids
        os.kill(first, signal.SIGKILL)
        assert all(isinstance(answer, ReadImage) for answer in stream)
        assert started.process_ids != [first]


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_readers_that_are_always_killed_before_they_are_ready_end_the_run(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not because of an image."""
    monkeypatch.setattr(readers, "_serve", killed)
    with Readers(1, make_backbone("pixels").image_size) as started:
        with pytest.raises(RuntimeError, match=r"got one that ended with exit code -9 before the first"):
            list(started.read([Wanted(images[0], None)]))
        assert started.process_ids == []


SCRIPT = """
import sys
from pathlib import Path
from roialign.features import BackboneOptions, GridBoxes, JobSettings, prepare, run

photos, out = Path(sys.argv[1]), Path(sys.argv[2])
settings = JobSettings("pixels", sizes=((1, 1),))
job = prepare(sorted(photos.iterdir()), GridBoxes(1, 1), out, settings, BackboneOptions())
{}run(job)
"""


@pytest.mark.parametrize("guard", ["", "if __name__ == '__main__': "])
def test_a_script_without_a_guard_writes_no_errors_in_place_of_images(
    guard: str, images: list[Path], tmp_path: Path
) -> None:
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT.format(guard))
    here = {**os.environ, "PYTHONPATH": str(Path(roialign.__file__).parents[1])}
    words = [sys.executable, script, images[0].parent, out]
    done = subprocess.run(words, env=here, capture_output=True, text=True, check=False, timeout=120)
    written = [path.name for path in out.iterdir() if path.name != "_manifest.json"]
    if guard:
        assert (done.returncode, done.stderr) == (0, "")
        assert written == ["features-00000-of-00001.parquet"]
    else:
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "RuntimeError: readers: expected a process that reads images, got one that ended with exit code 1 before "
            'the first: in a script, call run below if __name__ == "__main__":, or with readers=0, which starts no '
            "process"
        )
        assert written == []
