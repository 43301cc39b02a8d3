"""Files that nobody would write, for every way in: python -m tests.files.fuzz [INPUTS] [SEED].

What is drawn are real files with something wrong in them: see :mod:`.grammar`. Whatever it is, a reader gives an answer
or raises an error in our own words, within seconds, and masks hold 0 and 1 only.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from roialign.detection import CocoDataset, load_model
from roialign.detection.average_precision import average_precision, dota_average_precision
from roialign.detection.rotated_boxes import to_convention
from roialign.detection.rotated_data import RotatedDataset
from roialign.detection.settings import DetectorSettings
from roialign.detection.training.logs import rows_up_to
from roialign.detection.training.settings import SETTINGS_FILE, RunError, read_settings
from roialign.extract.inputs import read_input
from roialign.files.boxes import read_boxes
from roialign.files.folders import expand
from roialign.files.images import IMAGE_ENDINGS, read_picture
from roialign.files.orientation import Annotated
from roialign.files.problems import FileError, Problems
from roialign.files.run_lengths import encoded, mask_of, run_lengths_of
from tests.commands.invoked import invoke
from tests.commands.real_files import IMAGES
from tests.files.checkpoints import readable
from tests.files.grammar import (
    Draw,
    box_table,
    checkpoint,
    coco,
    feature_map,
    file_of_a_run,
    grow_folder,
    image,
    label_file,
    text_of,
)
from tests.files.sets import HEIGHT, WIDTH, content_of

#: One input may take so many seconds.
LONGEST = 60
#: One of so many inputs goes through a whole command.
COMMAND_EVERY = 200
#: Texts of dependencies that nobody should have to read.
FOREIGN = ("Traceback", "weights_only", "<_io.", "object at 0x", "PytorchStreamReader", "allow_pickle")


class Fuzz:
    """A folder of files, and what is done with each kind of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pictures = folder / "val/images"
        pictures.mkdir(parents=True)
        self.picture = pictures / "1.png"
        for number in (1, 2):
            (pictures / f"{number}.png").write_bytes(IMAGES["rgba.png"].content)
        self.weights = folder / "good.pt"
        self.weights.write_bytes(readable()["its own"])
        self.good_set = folder / "good"
        (self.good_set / "val").mkdir(parents=True)
        (self.good_set / "val/images").symlink_to(pictures)
        (self.good_set / "val/annotations.json").write_text(json.dumps(content_of()))
        self.counts: Counter[str] = Counter()

    def try_coco(self, draw: Draw) -> None:
        path = self.folder / "val/annotations.json"
        path.write_bytes(text_of(draw, coco(draw)))
        if draw.random.random() > 1 - 1 / COMMAND_EVERY:
            self.command("evaluate", "--weights", self.weights, "--data", self.folder)
            if draw.random.random() < 0.3:
                options = ("--split", "val", "--iterations", 1, "--batch-size", 1, "--model", "faster-rcnn")
                with tempfile.TemporaryDirectory() as run:
                    self.command("train", "--data", self.folder, "--out", Path(run) / "run", *options)
            return
        problems = Problems()
        with self.refused():
            dataset = CocoDataset(path, self.folder / "val/images", problems)
            rows = []
            for index in range(len(dataset)):
                with self.refused():
                    target = dataset[index][1]
                    assert target["masks"].numel() == 0 or int(target["masks"].max()) <= 1
                    boxes = target["boxes"]
                    assert bool(boxes.isfinite().all() & (boxes >= 0).all() & (boxes[:, 2:] > boxes[:, :2]).all())
                    x1, y1, x2, y2 = (boxes[:1] if len(boxes) else torch.zeros(1, 4)).T.tolist()
                    rows.append({
                        "image_id": target["image_id"], "category_id": draw.one(1, 2, draw.value()), "score": 0.5,
                        "bbox": [x1[0], y1[0], x2[0] - x1[0], y2[0] - y1[0]], "segmentation": draw.segmentation(),
                    })  # fmt: skip
            for kind in ("box", "mask"):
                average_precision(dataset, rows, kind, problems=problems)
        self.check([*problems, *problems.remarks])

    def try_rotated(self, draw: Draw) -> None:
        path, labels = self.folder / "rotated.json", self.folder / "labelTxt"
        labels.mkdir(exist_ok=True)
        if draw.random.random() < 0.5:
            path.write_bytes(text_of(draw, coco(draw)))
        else:
            (labels / "1.txt").write_bytes(label_file(draw))
            path = labels
        problems = Problems()
        with self.refused():
            dataset = RotatedDataset(path, self.folder / "val/images", problems)
            rows = []
            for index in range(len(dataset)):
                with self.refused():
                    target = dataset[index][1]
                    boxes = target["rotated_boxes"]
                    assert bool(boxes.isfinite().all() & (boxes[:, 2] >= boxes[:, 3]).all() & (boxes[:, 3] > 0).all())
                    assert torch.equal(boxes, to_convention(boxes))
                    rows.append({
                        "image_id": target["image_id"], "category_id": draw.one(1, 2, draw.value()), "score": 0.5,
                        "bbox": draw.one([1, 2, 3, 4], [9, 9, 5, 4, 30], draw.value()),
                        "segmentation": draw.one(draw.segmentation(), None),
                    })  # fmt: skip
            average_precision(dataset, rows, "rotated_box", problems=problems)
            dota_average_precision(dataset, rows, problems=problems)
        self.check([*problems, *problems.remarks])

    def try_masks(self, draw: Draw) -> None:
        segmentation = draw.segmentation()
        with self.refused():
            lengths = run_lengths_of(segmentation, HEIGHT, WIDTH)
            mask = mask_of(lengths)
            assert mask.shape == (HEIGHT, WIDTH)
            assert mask.max() <= 1
            again = encoded(mask)
            assert np.array_equal(mask, mask_of(run_lengths_of(again, HEIGHT, WIDTH)))

    def try_boxes(self, draw: Draw) -> None:
        name, content = box_table(draw)
        (self.folder / name).write_bytes(content)
        if draw.random.random() > 1 - 1 / COMMAND_EVERY:
            out = self.folder / "f.npz"
            self.command("extract", self.picture, "--boxes", self.folder / name, "--out", out)
            return
        problems = Problems()
        with self.refused():
            for box in read_boxes(self.folder / name, problems):
                assert all(abs(value) <= 1e100 for value in box.corners)
        self.check([*problems, *problems.remarks])

    def try_image(self, draw: Draw) -> None:
        path = self.folder / "a.img"
        path.write_bytes(image(draw))
        if draw.random.random() > 1 - 1 / COMMAND_EVERY:
            self.command("detect", path, self.picture, "--weights", self.weights, "--out", self.folder / "out")
            assert len(json.loads((self.folder / "out/detections.json").read_text())["images"]) >= 1
            return
        size = draw.one(None, (WIDTH, HEIGHT), (HEIGHT, WIDTH), (1, 1))
        with self.refused():
            picture = read_picture(path, Annotated(size, [(0, 0, 50, 40)]))
            assert picture.pixels.ndim == 3
            assert picture.pixels.dtype == np.float32
            unit = picture.unit_range()
            assert 0 <= unit.min() <= unit.max() <= 1

    def try_feature_map(self, draw: Draw) -> None:
        name, content = feature_map(draw)
        (self.folder / name).write_bytes(content)
        with self.refused():
            assert read_input(self.folder / name, layout=draw.one("NCHW", "NHWC")).features.ndim == 4

    def try_folder(self, draw: Draw) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            grow_folder(draw, folder)
            listed = folder / "list.txt"
            listed.write_text("".join(f"{folder / draw.one('0.png', '1.jpg', 'none.png')}\n" for _ in range(3)))
            if draw.random.random() > 1 - 1 / COMMAND_EVERY:
                arguments = ("--weights", self.weights, "--out", folder / "out")
                self.command("detect", folder, self.picture, *arguments)
                return
            problems = Problems()
            with self.refused():
                for path in expand([folder, listed], IMAGE_ENDINGS, [folder / "out"], problems):
                    try:
                        read_picture(path)
                    except FileError as error:
                        problems.add(path, error)
            said = list(map(str, problems))
            assert not any(len(line.splitlines()) > 1 for line in said)
            self.check(said)

    def try_run(self, draw: Draw) -> None:
        name, content = file_of_a_run(draw)
        (self.folder / name).write_bytes(content)
        with self.refused(RunError):
            if name == SETTINGS_FILE:
                read_settings(self.folder)
            else:
                rows_up_to(self.folder / name, draw.one(0, 1, 3), draw.one([], ["box_AP", "mask_AP"]))

    def try_weights(self, draw: Draw) -> None:
        path = self.folder / "w.pt"
        path.write_bytes(checkpoint(draw))
        if draw.random.random() > 1 - 5 / COMMAND_EVERY:
            self.command("detect", self.picture, "--weights", path, "--out", self.folder / "out2")
            return
        with self.refused():
            _, settings = load_model(path)
            assert isinstance(settings, DetectorSettings)

    @contextlib.contextmanager
    def refused(self, kind: type[ValueError] = FileError) -> Iterator[None]:
        """The errors that a reader may raise, in our own words."""
        try:
            yield
            self.counts["read"] += 1
        except kind as error:
            self.counts["refused"] += 1
            self.check([error])

    def command(self, *arguments: object) -> None:
        """A whole command; it may fail, but with words."""
        result = invoke(*arguments)
        self.counts[f"{arguments[0]}, exit code {result.exit_code}"] += 1
        assert result.exit_code in (0, 1), result.output
        assert result.exit_code == 0 or result.stderr.startswith(("error: ", "note: ")), result.output
        assert result.exit_code == 1 or "error: " not in result.stderr, result.output
        self.check(result.stderr.splitlines())

    def check(self, said: Any) -> None:
        """Nothing that was said is a dependency's."""
        for each in said:
            text = str(each)
            assert text.strip(), "an error without words"
            assert not any(foreign in text for foreign in FOREIGN), text[:2000]


#: What is tried, by name, and how often of 100 times; a checkpoint takes longer than the others.
TRIED: dict[str, tuple[Callable[[Fuzz, Draw], None], int]] = {
    "COCO files": (Fuzz.try_coco, 20),
    "rotated boxes": (Fuzz.try_rotated, 10),
    "masks": (Fuzz.try_masks, 16),
    "box tables": (Fuzz.try_boxes, 19),
    "images": (Fuzz.try_image, 18),
    "feature maps": (Fuzz.try_feature_map, 7),
    "folders": (Fuzz.try_folder, 4),
    "files of runs": (Fuzz.try_run, 4),
    "checkpoints": (Fuzz.try_weights, 2),
}


def run(folder: Path, inputs: range, say: Callable[[str], None] = lambda _: None) -> Counter[str]:
    """Try so many inputs, each of the seed of its number; what came of them.

    Raises
    ------
    AssertionError
        With the number of the input that did what none may.
    """
    fuzz = Fuzz(folder)
    names = [name for name, (_, share) in TRIED.items() for _ in range(share)]
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in inputs:
            draw = Draw(random.Random(number))
            name = draw.random.choice(names)
            faulthandler.dump_traceback_later(LONGEST, exit=True)
            try:
                TRIED[name][0](fuzz, draw)
            except Exception as error:
                raise AssertionError(f"input {number}, {name}: {type(error).__name__}: {error}") from error
            finally:
                faulthandler.cancel_dump_traceback_later()
            fuzz.counts[name] += 1
            if number % 1000 == 999:
                say(f"{number + 1 - inputs.start} inputs, {time.monotonic() - began:.0f} s")
    return fuzz.counts


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    count, first = map(int, (*sys.argv[1:], *("100000", "0")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as scratch:
        found = run(Path(scratch), range(first, first + count), _say)
    for name, times in sorted(found.items()):
        sys.stdout.write(f"{name}: {times}\n")
