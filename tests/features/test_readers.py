"""Processes that read images ahead: one that is killed takes no image with it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from roialign.features import make_backbone
from roialign.features.images import ReadImage
from roialign.features.readers import Readers, Wanted
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
