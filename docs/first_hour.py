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

This page goes from a clone to a detector of your own. `docs/first_hour.py` ran every command in a clone; its output is
shown below it. You need Python 3.10 or newer and a C++20 compiler:

```sh
python3 -m venv .venv
. .venv/bin/activate
pip install '.[detection]'
```
""",
    ["roialign --version"],
    """`roialign --help` lists the commands. `roialign extract --help` shows the options of one command, with examples.
`roialign --install-completion` installs tab completion for your shell.

## Features of boxes

The clone contains a photograph and a table of seven boxes. This command pools the photograph's pixels in each box, into
7 x 7 bins:
""",
    [
        "roialign extract examples/astronaut.png --boxes examples/astronaut_boxes.csv --plot overlay.png",
        "python -c \"import numpy as np; print(np.load('features.npz')['features'].shape)\"",
    ],
    """Feature maps of a backbone, in `.npy` or `.npz` files, are pooled in the same way. Set `--spatial-scale` to
1 / stride. `--sampling`, `--sampling-ratio` and `--no-aligned` choose the sample points, `--stride 8` averages the
input over squares of 8 x 8 pixels first, and `--plot-box` is the row of the box to draw.

## Your own boxes

The usual column names are recognised. Instead of images, you can give a folder. If a table has boxes of images that
were not given, an error is reported, unless you pass `--ignore-missing`:
""",
    [
        "printf 'filename,class,xmin,ymin,xmax,ymax\\nastronaut.png,face,176.5,62,275.5,191.5\\n' > faces.csv",
        "printf 'moon.png,face,10,20,30,40\\nmars.png,face,10,20,30,40\\n' >> faces.csv",
        "roialign extract examples --boxes faces.csv --out faces.npz",
        "roialign extract examples --boxes faces.csv --out faces.npz --ignore-missing",
    ],
    "If your columns have other names, pass them with `--columns`:\n",
    [
        "printf 'photo;kind;a;b;c;d\\nastronaut.png;face;176.5;62;99;129.5\\n' > mine.csv",
        "roialign extract examples --boxes mine.csv --out mine.npz "
        "--columns image=photo,label=kind,x=a,y=b,width=c,height=d",
    ],
    """If boxes are valid but probably a mistake, they are pooled and a note is printed. Here, the last two
numbers are a width and a height, not a corner:
""",
    [
        "printf 'image,x1,y1,x2,y2\\nastronaut.png,176.5,62,99,129.5\\n' > wrong.csv",
        "roialign extract examples --boxes wrong.csv --out wrong.npz",
        "roialign extract examples --boxes wrong.csv --out right.npz --box-format xywh",
    ],
    "Invalid input raises an error before anything is computed:\n",
    [
        "roialign extract examples --boxes faces.csv --out features.csv",
        "roialign extract examples --boxes mine.csv --out mine.npz",
    ],
    """## A detector of your own

`roialign train` reads a dataset in COCO format. `examples/make_dataset.py` makes one from photographs and a table of
boxes, and keeps every fifth photograph for testing. Use it with your own photographs. This example uses one small
photograph, so that training takes about half a minute on a CPU:
""",
    [
        "python examples/make_dataset.py examples/astronaut.png --boxes examples/astronaut_boxes.csv "
        "--longest-side 128 --out mine",
        "roialign train --data mine --out run --model faster-rcnn --iterations 60 --batch-size 1 --warmup 10 "
        "--val-split train --print-every 20",
    ],
    """The folder `run` contains the weights, a log of every step, and curves for
`tensorboard --logdir run/tensorboard`. If training stops, rerun the same command to resume. To train a finished run for
longer, pass more iterations. If another setting has changed, the error names it:
""",
    [
        "roialign train --data mine --out run --model faster-rcnn --iterations 100 --batch-size 1 --warmup 10 "
        "--val-split train --print-every 20",
        "roialign train --data mine --out run --model faster-rcnn --iterations 100 --batch-size 1 --warmup 10 "
        "--val-split train --seed 7 --pooler align",
    ],
    "Measure average precision, and detect objects in the photograph at full size:\n",
    [
        "roialign evaluate --weights run --data mine --split train",
        "roialign detect examples/astronaut.png --weights run --out pictures",
        "ls pictures",
    ],
    """`pictures/astronaut-detections.png` shows the boxes, their labels and their scores. For real work, use many
photographs, a larger image size, a GPU, and `--model mask-rcnn` if your objects have outlines. See
[Detectors](detection.md).

## Without photographs

`roialign scenes` draws a dataset of handwritten digits with boxes and masks. The defaults of `roialign train` are
chosen for it, and training takes minutes on a CPU.
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
