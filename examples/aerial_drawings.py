"""Draw ships and planes as seen from above, for `roialign scenes --objects`.

python examples/aerial_drawings.py drawings
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from arguments import check_output, check_replaceable, ends_with_code
from PIL import Image, ImageDraw
from rich.console import Console

from roialign.commands.terminal import print_line

#: The drawings of each class. `roialign scenes` uses every fifth for validation only.
COUNT = 6
#: Drawings are made at this scale and reduced, so that their edges are smooth.
SCALE = 4
LENGTH = 64 * SCALE

Colour = tuple[int, int, int, int]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="Folder of the drawings, with a folder for each class.")
    options = parser.parse_args()
    check_output(options.out, "out")
    random = np.random.default_rng(0)
    files = [f"{number}.png" for number in range(COUNT)]
    for name in CLASSES:
        check_replaceable(options.out / name, "out", "a new folder, or one of these drawings", files)
    for name, draw in CLASSES.items():
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files):
            drawing = draw(random, bright=number % 2 == 1)
            reduced = drawing.resize((2 * drawing.width // SCALE, 2 * drawing.height // SCALE))
            reduced.save(folder / file)
    print_line(Console(), f"wrote {options.out}: {COUNT} ships and {COUNT} planes")
    return 0


def ship(random: np.random.Generator, *, bright: bool) -> Image.Image:
    """A hull with a bridge and three hatches, heading right."""
    breadth = int(random.uniform(14, 20)) * SCALE
    image = Image.new("RGBA", (LENGTH, breadth))
    draw = ImageDraw.Draw(image)
    hull = colour(random, 150, 256) if bright else colour(random, 20, 100)
    bow = LENGTH * random.uniform(0.72, 0.84)
    stern = [(0.06 * LENGTH, 0), (0, 0.12 * breadth), (0, 0.88 * breadth), (0.06 * LENGTH, breadth)]
    draw.polygon([*stern, (bow, breadth), (LENGTH, 0.5 * breadth), (bow, 0)], fill=hull)
    parts = [(0.1, 0.28, colour(random, 190, 256))]
    parts += [(x, x + 0.1, colour(random, 60, 240)) for x in (0.36, 0.49, 0.62)]
    for left, right, paint in parts:
        draw.rectangle((left * LENGTH, 0.24 * breadth, right * LENGTH, 0.76 * breadth), fill=paint)
    return image


def plane(random: np.random.Generator, *, bright: bool) -> Image.Image:
    """A fuselage with swept wings and a tail, heading right."""
    height = int(0.9 * LENGTH)
    image = Image.new("RGBA", (LENGTH, height))
    draw = ImageDraw.Draw(image)
    paint = colour(random, 200, 256) if bright else colour(random, 60, 130)
    middle, half = height / 2, random.uniform(4, 6) * SCALE
    tip = 0.62 - random.uniform(0.3, 0.42)
    draw.ellipse((0, middle - half, LENGTH, middle + half), fill=paint)
    for side in (-1, 1):
        wing = [(0.62, 0.0), (0.42, 0.0), (tip, 1.0), (tip + 0.1, 1.0)]
        tail = [(0.14, 0.0), (0.06, 0.0), (0.0, 0.38), (0.06, 0.38)]
        for outline in (wing, tail):
            draw.polygon([(x * LENGTH, middle + side * y * middle) for x, y in outline], fill=paint)
    return image


def colour(random: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(value) for value in random.integers(low, high, 3))
    return red, green, blue, 255


CLASSES = {"ship": ship, "plane": plane}

if __name__ == "__main__":
    sys.exit(ends_with_code(main))
