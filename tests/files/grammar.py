"""A grammar of files with something wrong in them: COCO files, box tables, images, feature maps and checkpoints."""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import os
import pickle
import random
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from roialign.files.run_lengths import encoded
from tests.commands.real_files import IMAGES
from tests.files.checkpoints import own, readable, saved, unreadable, weights
from tests.files.sets import HEIGHT, WIDTH, content_of

NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 48, 64, 3072, 0.5, -0.0, 1.0, 1e-300, 1e10, 1e100, 1e308, -1e308, 2**31, 2**32, 2**53 + 1, 2**63,
    2**64, -(2**63), 10**30, 10**400, float("nan"), float("inf"), -float("inf"),
)  # fmt: skip
TEXTS: tuple[Any, ...] = (
    "", "0", "1", "-1", "1.0", "1e5", "nan", "cat", "../x", "/etc/passwd", "a\0b", "\ud800", "\u202e", "x" * 5000,
    "PPPP", "zzzz\u00e9~~", "o" * 50, "[bold]", "\x1b[31m", "true", "null",
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [[], {}], {"a": []}, [None] * 4, [[0, 0, 1, 1]])


class Draw:
    """The grammar's choices: of a seed, or of hypothesis, which then finds the least input that fails."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def one(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def value(self, depth: int = 0) -> Any:
        """Anything that JSON can hold, and some that Python's reader takes besides."""
        kind = self.random.random()
        if kind < 0.45:
            return self.random.choice(NUMBERS)
        if kind < 0.65:
            return self.random.choice(TEXTS)
        if kind < 0.85 or depth > 2:
            return copy.deepcopy(self.random.choice(OTHERS))  # it may be put into itself
        if kind < 0.95:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 8))]
        names = [self.one("size", "counts", "id", "a") for _ in range(self.random.randint(0, 3))]
        return {name: self.value(depth + 1) for name in names}

    def segmentation(self) -> Any:
        """Outlines and run lengths, good ones among them."""
        kind = self.random.randint(0, 5)
        if kind == 0:
            noise = np.random.default_rng(self.random.randrange(2**32)).random((HEIGHT, WIDTH))
            lengths = encoded(noise < self.random.random())
            letters = list(lengths["counts"])
            for _ in range(self.random.randint(0, 3)):
                letters[self.random.randrange(len(letters))] = chr(self.random.randint(1, 130))
            return {**lengths, "counts": "".join(letters)[: self.random.choice([None, 5, -1])]}
        if kind == 1:
            counts: list[Any] = [self.random.randint(0, 200) for _ in range(self.random.randint(0, 30))]
            if self.random.random() < 0.7:
                counts.append(max(HEIGHT * WIDTH - sum(counts), 0))
            if self.random.random() < 0.3 and counts:
                counts[self.random.randrange(len(counts))] = self.value()
            return {"size": self.one([HEIGHT, WIDTH], [WIDTH, HEIGHT], self.value()), "counts": counts}
        if kind in (2, 3):
            return [
                [self.random.uniform(-80, 140) if self.random.random() < 0.98 else self.value()
                 for _ in range(self.random.choice([6, 6, 8, 10, 11, 4, 0]))]
                for _ in range(self.random.randint(1, 4))
            ]  # fmt: skip
        if kind == 4:
            return {"size": self.value(), "counts": self.value()}
        return self.value()

    def changed_bytes(self, content: bytes) -> bytes:
        """A file with some of its bytes changed, taken out, or put in."""
        changed = bytearray(content)
        for _ in range(self.random.choice([0, 1, 1, 2, 5, 30])):
            if not changed:
                break
            # The beginning is where a file says what it is.
            end = self.random.choice([64, 256, len(changed)])
            at = self.random.randrange(min(end, len(changed)))
            kind = self.random.random()
            if kind < 0.6:
                changed[at] = self.random.choice([0, 1, 127, 128, 255, self.random.randrange(256)])
            elif kind < 0.8:
                del changed[at : at + self.random.choice([1, 4, 100, len(changed)])]
            else:
                changed[at:at] = bytes(self.random.randrange(256) for _ in range(self.random.choice([1, 4, 50])))
        return bytes(changed)


def coco(draw: Draw) -> Any:
    """A COCO file."""
    content: Any = content_of()
    for row in content["annotations"]:
        if draw.random.random() < 0.6:
            row["segmentation"] = draw.segmentation()
    for _ in range(draw.random.choice([0, 1, 2, 5])):
        section = draw.one("images", "annotations", "annotations", "categories")
        rows = content.get(section)
        if not isinstance(rows, list) or not rows:
            continue
        at = draw.random.randrange(len(rows))
        if not isinstance(rows[at], dict) or not rows[at] or draw.random.random() < 0.1:
            rows[at] = draw.value()
            continue
        name = draw.random.choice(list(rows[at]))
        if draw.random.random() < 0.2:
            rows[at].pop(name)
        elif name == "bbox" and draw.random.random() < 0.6:
            sides = [draw.random.uniform(-99, 99) for _ in draw.one("xywh", "xywh", "xywha")]
            rows[at]["bbox"] = [side if draw.random.random() < 0.8 else draw.value() for side in sides]
        else:
            rows[at][name] = draw.value()
    if draw.random.random() < 0.1:
        content[draw.random.choice([*content, "more"])] = draw.value()
    return content if draw.random.random() < 0.97 else draw.value()


def label_file(draw: Draw) -> bytes:
    """A label file of DOTA."""
    lines = ["imagesource:GoogleEarth", "gsd:0.1"] if draw.random.random() < 0.7 else []
    for _ in range(draw.random.randint(0, 6)):
        x, y = draw.random.uniform(-20, 80), draw.random.uniform(-20, 60)
        sides: list[Any] = [x, y, x + 9, y + 2, x + 8, y + 7, x - 1, y + 5]
        if draw.random.random() < 0.4:
            sides[draw.random.randrange(8)] = draw.value()
        words = [*sides, draw.one("ship", "plane", draw.value()), draw.one(0, 0, 1, draw.value())]
        lines.append(
            draw.one(" ", " ", " ", "\t", ",").join(str(word)[:300] for word in words[: draw.one(10, 10, 9, 5)])
        )
    content = draw.one("\n", "\n", "\r\n", "\r").join(lines).encode(draw.one("utf-8", "utf-8", "utf-16"), "replace")
    return draw.changed_bytes(content) if draw.random.random() < 0.3 else content


def text_of(draw: Draw, content: Any) -> bytes:
    """JSON, as far as it is."""
    text = json.dumps(content).encode()
    if draw.random.random() < 0.1:
        text = draw.changed_bytes(text)
    return draw.one(b"", b"", b"", b"", b"\xef\xbb\xbf") + text  # type: ignore[no-any-return]


#: Names that people give to the column of the image, and some that are others'.
IMAGE_COLUMNS = ("image", "image_id", "ImageID", "frame", "photo", "img", "file name", "motif", "scan_no", "label", "")


def box_table(draw: Draw) -> tuple[str, bytes]:
    """A name and a table of boxes of any of the formats."""
    kind = draw.random.random()
    if kind < 0.25:
        return "b.json", text_of(draw, coco(draw))
    if kind < 0.5:
        rows = [_listed_row(draw) for _ in range(draw.random.randint(0, 6))]
        if draw.random.random() < 0.1:  # JSON Lines
            return "b.json", b"".join(text_of(draw, row) + b"\n" for row in rows)
        return "b.json", text_of(draw, rows)
    text = _written_table(draw)
    if draw.random.random() < 0.05:
        text = draw.one("<annotation><object>", "<?xml version='1.0'?><annotations>", '[{"box": [1, 2, 3, 4]}]', "")
    encoding = (
        "utf-8" if draw.random.random() < 0.9 else draw.one("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1")
    )
    content = text.encode(encoding, "replace")
    return draw.one("b.csv", "b.tsv", "b.txt"), draw.changed_bytes(content) if draw.random.random() < 0.3 else content


def _listed_row(draw: Draw) -> Any:
    name, image = draw.one(*IMAGE_COLUMNS), draw.one("1.png", "a/1.png", 1, "1", draw.value())
    return draw.one(
        [draw.random.uniform(-9, 99) for _ in range(4)],
        {name: image, "box": [draw.value() for _ in range(4)]},
        {name: image, "box": [1, 2, 30, 40], "label": draw.value(), "image_width": draw.value(), "image_height": 48},
        {name: image, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5},
        {name: image, "xmin": 1, "ymin": draw.value(), "xmax": 9, "ymax": 9, "crop": draw.one("a.png", draw.value())},
        draw.value(),
    )


def _written_table(draw: Draw) -> str:
    """A table of text with its first lines, its delimiter, its comments, and quotes in wrong places."""
    file = io.StringIO()
    separator = draw.one(",", ",", ",", ";", "\t", "|")
    table = csv.writer(file, delimiter=separator, lineterminator=draw.one("\n", "\r\n", "\r"))
    file.write(draw.one("", "", "", f"sep={separator}\n", "sep=\n", "# a script\n", "#"))
    columns = [draw.one(*IMAGE_COLUMNS), "x1", "y1", "x2", "y2", draw.one("label", "image_width", "path")]
    if draw.random.random() < 0.2:
        draw.random.shuffle(columns)
        columns = columns[draw.random.randint(0, 2) :] + columns[: draw.random.randint(0, 2)]
    table.writerow(columns)
    for _ in range(draw.random.randint(0, 6)):
        fields = ["1.png", *(str(draw.value())[:300] for _ in range(4)), "cat"]
        fields = [draw.one("1.png", "1"), 1, 2, 30, 40, "cat"] if draw.random.random() < 0.5 else fields
        table.writerow([str(field).replace("\ud800", "?") for field in fields[: draw.random.choice([6, 6, 6, 5, 0])]])
        if draw.random.random() < 0.15:
            file.write(draw.one('"', '"a\n', '"1.png",', "# ", "#1.png,1,2,3,4,cat\n", "\n\n", "x" * 140_000, '"' * 9))
    return file.getvalue()


def image(draw: Draw) -> bytes:
    """An image file."""
    return draw.changed_bytes(draw.random.choice(list(IMAGES.values())).content)


def feature_map(draw: Draw) -> tuple[str, bytes]:
    """A name and a file of NumPy."""
    shape = draw.one((2, 5, 6), (1, 2, 5, 6), (3,), (0, 4, 4))
    array = np.zeros(shape, dtype=draw.one("f4", "f8", "f2", "u1", "O", "U3"))
    if array.dtype == np.float32 and array.size and draw.random.random() < 0.2:
        array.flat[0] = draw.one(np.nan, np.inf)
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    member = file.getvalue()
    if draw.random.random() < 0.3:  # a header that promises what does not follow
        sides = (draw.one(1, -1, 2**31, 2**62, 10**30), draw.one(1, 2**20), draw.one(4, 2**20))
        file = io.BytesIO()
        promise = {"descr": draw.one("<f4", "<f8", "|O", "<U9"), "fortran_order": draw.one(True, False), "shape": sides}
        np.lib.format.write_array_header_2_0(file, promise)
        member = file.getvalue() + bytes(draw.one(0, 100))
    if draw.random.random() < 0.5:
        return "m.npy", draw.changed_bytes(draw.one(member, member, member, b"<html>", b"\x80\x04."))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", draw.one(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)) as archive:
        archive.writestr(draw.one("a.npy", "b.npy", "a"), member)
        if draw.random.random() < 0.3:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about a name that is there already
                archive.writestr(draw.one("a.npy", "text"), draw.one(b"", b"\x93NUMPY", b"text"))
    return "m.npz", draw.changed_bytes(file.getvalue())


def grow_folder(draw: Draw, folder: Path, depth: int = 0) -> None:
    """Files, links to them, to nothing and to each other, pipes, and folders with images' names, in a folder."""
    for number in range(draw.random.randint(1, 4)):
        path = folder / draw.one(f"{number}.png", f"{number}.jpg", f"{number}\n.png", f"{number}.txt", f".{number}.png")
        kind = draw.random.random()
        if kind < 0.4 or path.exists() or path.is_symlink():
            path.write_bytes(image(draw)) if not path.is_dir() and not path.is_symlink() else None
        elif kind < 0.7:
            path.symlink_to(draw.one("nowhere", path.name, ".", "..", folder, folder.parent, "0.png"))
        elif kind < 0.8:
            os.mkfifo(path)
        else:
            path.mkdir()
            if depth < 3:
                grow_folder(draw, path, depth + 1)


def file_of_a_run(draw: Draw) -> tuple[str, bytes]:
    """A name in the folder of a run, and what its file has become."""
    name = draw.one("log.csv", "log.csv", "settings.json")
    if name == "settings.json":
        return name, text_of(draw, {"detector": own({})["settings"], "iterations": draw.value(), "seed": draw.value()})
    lines = [f"{number},{draw.one(0.5, draw.value())},\n" for number in range(1, draw.random.randint(1, 6))]
    return name, draw.changed_bytes("".join(["iteration,loss,box_AP\n", *lines]).encode(errors="replace"))


def checkpoint(draw: Draw) -> bytes:
    """A file of weights."""
    kind = draw.random.random()
    if kind < 0.3:
        return draw.changed_bytes(draw.random.choice(list(readable().values())))
    if kind < 0.5:
        return draw.changed_bytes(draw.random.choice(list(unreadable().values()))[0])
    model: Any = dict(weights())
    for _ in range(draw.random.choice([0, 0, 1, 2])):
        name = draw.random.choice(list(model))
        if draw.random.random() < 0.3:
            model.pop(name)
        else:
            huge = torch.zeros(1).expand(10**6, 10**6)
            tensor = draw.one(torch.zeros(3), torch.zeros(()), torch.zeros(0), huge, draw.value(), model[name])
            model[draw.one(name, name, "a", 7)] = tensor
    content = own(model)
    if draw.random.random() < 0.6:
        name = draw.random.choice(list(content["settings"]))
        content["settings"][name] = draw.value()
    if draw.random.random() < 0.2:
        content[draw.one("settings", "model", "more")] = draw.value()
    if draw.random.random() < 0.1:
        content["beside"] = draw.one(os.system, PurePosixPath("a"), np.float64(3), weights)
    with contextlib.suppress(TypeError, UnicodeEncodeError, pickle.PicklingError, AttributeError):
        whole = saved(content, pickle_protocol=draw.one(2, 2, 2, 4))
        return draw.changed_bytes(whole) if draw.random.random() < 0.2 else whole
    return b""
