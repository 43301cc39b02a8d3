"""Name regions of photographs by the features of a backbone, and draw two pictures of what RoIAlign does."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
from arguments import check_output, check_replaceable, ends_with_code
from regions import GRID, PHOTOGRAPHS, draw_regions, name_regions, write_photographs
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from slide import largest_change, plot_slide, slide_box

from roialign.commands.app import app
from roialign.features.locks import LOCK
from roialign.features.manifest import MANIFEST

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPH = Path("examples/astronaut.png")
BOXES, REGIONS = Path("examples/astronaut_boxes.csv"), Path("examples/regions.csv")
STRIDE = 8
#: What the demo writes into its folder. The photographs are first, so a folder without them is not of a demo.
PICTURES = [f"photographs/{name}.jpg" for name in PHOTOGRAPHS]
RESULT = (LOCK, MANIFEST, "features-00000-of-00001.parquet")
FEATURES = [f"{folder}/{file}" for folder in ("features", "grid") for file in RESULT]
FILES = [*PICTURES, *FEATURES, "features.npz", "regions.png", "roi_align.png", "sliding_box.png"]


def main(output: Path) -> int:
    """Run the command line as a user would, read the results, and draw the pictures."""
    os.chdir(ROOT)
    check_output(output, "output")
    files = FILES if (output / PICTURES[0]).exists() else []
    check_replaceable(output, "output", "a new folder, or that of an earlier demo", files)
    output.mkdir(parents=True, exist_ok=True)
    return name_and_draw(output) or pool_and_draw(output)


def run(*words: object) -> int:
    """Print a command and run it."""
    print("$", shlex.join(["roialign", *map(str, words)]), flush=True)
    return int(app([str(word) for word in words], standalone_mode=False) or 0)


def name_and_draw(output: Path) -> int:
    """Extract features of regions and of a grid from seven photographs, and classify them."""
    photographs, features, grid = output / "photographs", output / "features", output / "grid"
    for folder in (features, grid):
        shutil.rmtree(folder, ignore_errors=True)  # an index of another version would be rejected
    write_photographs(photographs)
    common = ("--backbone", "efficientnet-lite0", "--output-size", "vector")
    code = run("extract", photographs, "--boxes", REGIONS, *common, "--out", features)
    code = code or run("extract", photographs, "--boxes", f"grid:{GRID[0]}x{GRID[1]}", *common, "--out", grid)
    if code:
        return code
    named = name_regions(features)
    table = Table(title="Regions and the nearest class", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("image", "region", "nearest class of ImageNet", "probability"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for region in named:
        table.add_row(region.image, region.label, region.name, f"{region.share:.0%}")
    Console().print(table)
    picture = output / "regions.png"
    draw_regions(picture, photographs, named, grid)
    print(f"drew {picture}")
    return 0


def pool_and_draw(output: Path) -> int:
    """Pool hand-drawn boxes of a photograph, and slide a box over it."""
    features, steps, sliding = output / "features.npz", output / "roi_align.png", output / "sliding_box.png"
    words = ("extract", PHOTOGRAPH, "--boxes", BOXES, "--stride", STRIDE, "--out", features, "--plot", steps)
    if code := run(*words):
        return code
    show_result(features)

    with np.load(features) as result:
        face = result["boxes"][result["labels"].tolist().index("face")]
    slide = slide_box(PHOTOGRAPH, tuple(face.tolist()), STRIDE)
    plot_slide(sliding, slide)
    jump, glide = largest_change(slide.pool).max(), largest_change(slide.align).max()
    print(f"drew {sliding}: a step of 0.1 pixel moves RoIPool by up to {jump:.0f} grey levels, RoIAlign by {glide:.1f}")
    return 0


def show_result(path: Path) -> None:
    """Print the contents of the result file."""
    table = Table(title=f"{path}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("array", "shape", "dtype"):
        table.add_column(name)
    with np.load(path) as result:
        for name in result.files:
            array = result[name]
            table.add_row(name, " x ".join(map(str, array.shape)) or "one", str(array.dtype))
    Console().print(table)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
    sys.exit(ends_with_code(lambda: main(folder)))
