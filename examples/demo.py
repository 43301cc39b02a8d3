"""Pool hand-drawn boxes of a photograph, show the result as a table, and draw what RoIAlign does in two pictures."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from slide import largest_change, plot_slide, slide_box

from roialign.commands.app import app

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPH = Path("examples/astronaut.png")
BOXES = Path("examples/astronaut_boxes.csv")
STRIDE = 8


def main(output: Path) -> int:
    """Run the command line as a user would, look at what it wrote, and draw the second picture."""
    os.chdir(ROOT)
    output.mkdir(exist_ok=True)
    features, steps, sliding = output / "features.npz", output / "roi_align.png", output / "sliding_box.png"
    command = ["extract", str(PHOTOGRAPH), "--boxes", str(BOXES), "--stride", str(STRIDE)]
    command += ["--out", str(features), "--plot", str(steps)]
    print("$", shlex.join(["roialign", *command]))
    code = app(command, standalone_mode=False)
    if code:
        return int(code)
    show_result(features)

    with np.load(features) as result:
        face = result["boxes"][result["labels"].tolist().index("face")]
    slide = slide_box(PHOTOGRAPH, tuple(face.tolist()), STRIDE)
    plot_slide(sliding, slide)
    jump, glide = largest_change(slide.pool).max(), largest_change(slide.align).max()
    print(f"drew {sliding}: a step of 0.1 pixel moves RoIPool by up to {jump:.0f} grey levels, RoIAlign by {glide:.1f}")
    return 0


def show_result(path: Path) -> None:
    """What the result file holds."""
    table = Table(title=f"{path}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("array", "shape", "dtype"):
        table.add_column(name)
    with np.load(path) as result:
        for name in result.files:
            array = result[name]
            table.add_row(name, " x ".join(map(str, array.shape)) or "one", str(array.dtype))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")))
