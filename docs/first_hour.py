"""Writes docs/first-hour.md: the commands of a first hour, each run in a clone, with what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "first-hour.md"

#: Paragraphs, and between them, as lists, commands that are run one after the other.
CONTENT: list[str | list[str]] = [
    """# The first hour

From a clone to a detector of your own, on photographs of your own. Every command on this page was run in a clone, by
`docs/first_hour.py`, and what stands below it is what it said. It takes Python 3.10 or newer and a C++20 compiler:

```sh
python3 -m venv .venv
. .venv/bin/activate
pip install '.[detection]'
```
""",
    ["roialign --version"],
    """`roialign --help` lists the commands, `roialign extract --help` the options of one, with examples, and
`roialign --install-completion` teaches your shell to complete them.

## Features of boxes

The clone has a photograph and seven boxes drawn on it. Each box becomes 7 x 7 bins of the photograph's pixels:
""",
    [
        "roialign extract examples/astronaut.png --boxes examples/astronaut_boxes.csv --plot overlay.png",
        "python -c \"import numpy as np; print(np.load('features.npz')['features'].shape)\"",
    ],
    """Feature maps of a backbone, `.npy` or `.npz`, are pooled alike, with `--spatial-scale` 1 / stride.

## Boxes as you have them

Tables have other columns, and boxes of other images. The usual names are known, a folder stands for the images in it,
and boxes of images that were not given are counted:
""",
    [
        "printf 'filename,class,xmin,ymin,xmax,ymax\\nastronaut.png,face,176.5,62,275.5,191.5\\n' > faces.csv",
        "printf 'moon.png,face,10,20,30,40\\nmars.png,face,10,20,30,40\\n' >> faces.csv",
        "roialign extract examples --boxes faces.csv --out faces.npz",
        "roialign extract examples --boxes faces.csv --out faces.npz --ignore-missing",
    ],
    "Other names are said by `--columns`:\n",
    [
        "printf 'photo;kind;a;b;c;d\\nastronaut.png;face;176.5;62;99;129.5\\n' > mine.csv",
        "roialign extract examples --boxes mine.csv --out mine.npz "
        "--columns image=photo,label=kind,x=a,y=b,width=c,height=d",
    ],
    "What is likely to be a mistake has its answer, and is said: here a width and a height stand for a corner.\n",
    [
        "printf 'image,x1,y1,x2,y2\\nastronaut.png,176.5,62,99,129.5\\n' > wrong.csv",
        "roialign extract examples --boxes wrong.csv --out wrong.npz",
        "roialign extract examples --boxes wrong.csv --out right.npz --box-format xywh",
    ],
    "What cannot be right is refused before any work:\n",
    [
        "roialign extract examples --boxes faces.csv --out features.csv",
        "roialign extract examples --boxes mine.csv --out mine.npz",
    ],
    """## A detector of your own

`roialign train` takes a COCO-format data set. `examples/make_dataset.py` makes one of photographs and a table of boxes,
with every fifth photograph to test on. Give it yours; here it is one photograph, made small, so that a CPU learns it by
heart in half a minute:
""",
    [
        "python examples/make_dataset.py examples/astronaut.png --boxes examples/astronaut_boxes.csv "
        "--longest-side 128 --out mine",
        "roialign train --data mine --out run --model faster-rcnn --iterations 60 --batch-size 1 --warmup 10 "
        "--val-split train --print-every 20",
    ],
    """The folder `run` has the weights, a log with every step, and curves for `tensorboard --logdir run/tensorboard`.
Stopped at any moment, the same command continues; a finished run is extended by more iterations, and other settings are
named:
""",
    [
        "roialign train --data mine --out run --model faster-rcnn --iterations 100 --batch-size 1 --warmup 10 "
        "--val-split train --print-every 20",
        "roialign train --data mine --out run --model faster-rcnn --iterations 100 --batch-size 1 --warmup 10 "
        "--val-split train --seed 7 --pooler align",
    ],
    "Average precision, and the detector at work on the photograph in its full size:\n",
    [
        "roialign evaluate --weights run --data mine --split train",
        "roialign detect examples/astronaut.png --weights run --out pictures",
        "ls pictures",
    ],
    """`pictures/astronaut-detections.png` shows the boxes, their names and their scores. For real work take many
photographs, a larger size, `--model mask-rcnn` where you have outlines, and a GPU: [detection.md](detection.md).

## Without photographs

`roialign scenes` draws a data set of handwritten digits with boxes and masks. The defaults of `roialign train` are made
for it: minutes on a CPU.
""",
    ["roialign scenes scenes --train 4 --val 2 --image-size 96"],
]


def run(command: str, folder: Path) -> str:
    """What a command says, in a terminal of 100 columns."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def page(
    folder: Path, content: Sequence[str | list[str]] = CONTENT, run: Callable[[str, Path], str] = run
) -> Iterator[str]:
    """The page, its commands run in a folder that has what they need of a clone."""
    (folder / "examples").symlink_to(ROOT / "examples")
    for part in content:
        if isinstance(part, str):
            yield f"{part}\n"
            continue
        yield "```console\n"
        for command in part:
            yield f"$ {shown(command)}\n{run(command, folder)}"
        yield "```\n\n"


def shown(command: str) -> str:
    """A command on several lines where it is long, before an option, so that it can be pasted."""
    lines = [""]
    for word in re.split(r" (?=--)", command):
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) > 100 and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return " \\\n    ".join(lines)


def alike(text: str) -> list[str]:
    """The lines of a page without what differs from one machine, and one run, to another: numbers and times."""
    text = re.sub(r"(\d+ h )?(\d+ min )?(\d+ s )?left", "# left", text)
    text = re.sub(r"\b\d+(\.\d+)*(e-?\d+)?\b", "#", text)
    text = re.sub(r"\b(face|flag|helmet|mission patch|name tag|neck ring|shuttle model)(?= #  )", "NAME", text)
    return [re.sub(r"\s+", " ", re.sub(r"[─{}]", "", line)).strip() for line in text.splitlines()]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        PAGE.write_text("".join(page(Path(scratch))).rstrip() + "\n", encoding="utf-8")
