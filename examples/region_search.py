"""Find the regions of a folder of photographs that are most like a region of one of them, and draw them.

python examples/region_search.py photos --like photos/cat.jpg --box 180,40,330,190 --out found
python examples/region_search.py photos --like photos/cat.jpg --boxes detections --backbone detector:run --out found
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from arguments import (
    at_least_one,
    box_corners,
    check,
    check_apart,
    check_output,
    ends_with_code,
    photographs_in,
    print_problems,
)

from roialign.features import BackboneOptions, BoxSource, DetectedBoxes, JobSettings, prepare, run
from roialign.features.backbone import ImageSize
from roialign.features.boxes import DETECTIONS, grid_of
from roialign.features.images import read_resized
from roialign.features.shards import Shard
from roialign.files.folders import path_of
from roialign.files.problems import FileError
from roialign.search import Encoder, FeatureFolder, RegionIndex, draw_sheet
from roialign.search.queries import Corners, checked_box
from roialign.search.sheets import Tile


def regions(text: str) -> BoxSource:
    """Parse ``4x6`` as a grid, or ``detections``."""
    source = DetectedBoxes() if text == DETECTIONS else grid_of(f"grid:{text}")
    if source is None:
        raise argparse.ArgumentTypeError(f"expected ROWSxCOLUMNS or {DETECTIONS}, got {text!r}")
    return source


def extract(images: list[Path], boxes: BoxSource, backbone: str, out: Path) -> bool:
    """Extract a vector for every region, and return whether every image was read. What is there already is kept."""
    levels = "16" if backbone == "efficientnet-lite0" else "default"
    settings = JobSettings(backbone=backbone, sizes=((1, 1),), levels=levels)
    job = prepare(images, boxes, out, settings, BackboneOptions(threads=2))
    missing: list[Shard] = []
    report = run(job, readers=0, started=missing.extend)
    if missing:
        print(f"extracted {report.boxes} regions of {report.images} photographs into {out}")
    else:
        print(f"nothing left to extract: {out} has the regions of all photographs")
    errors = job.earlier_errors()  # those of this run are among them
    print_problems(errors)
    return not errors


def query_box(like: Path, box: Corners | None) -> Corners:
    """Return the region to look for: the box, or the whole image. Checks that the image can be read and has the box."""
    try:
        read = read_resized(like, None, ImageSize())
    except FileError as error:
        raise FileError(f"--like: expected an image, got {like}: {error}") from error
    return checked_box(box or (0, 0, read.width, read.height), like, read.width, read.height)


def search(folder: FeatureFolder, like: Path, box: Corners, top: int, sheet: Path) -> None:
    """Load all vectors, find the nearest ones, print them and draw a contact sheet."""
    index = RegionIndex.of_folder(folder)
    if not len(index.vectors):
        raise ValueError("photographs: expected at least one region to search, got none")
    query = Encoder(folder).encode(like, [box])
    start = time.perf_counter()
    positions, scores = index.search(query, top)
    milliseconds = 1000 * (time.perf_counter() - start)
    print(f"searched {len(index.vectors)} regions in {milliseconds:.1f} ms")
    tiles = []
    for region, score in zip(folder.regions(positions[0]), scores[0], strict=True):
        print(f"{score:.3f}  {region.image}  {region.label}  {', '.join(f'{side:g}' for side in region.box)}")
        lines = (f"{score:.3f} {region.label}", Path(region.image).name)
        tiles.append(Tile(path_of(region.image), region.box, lines, region.image_size))
    print_problems(draw_sheet(sheet, [Tile(like, box, ("query", like.name))], [tiles]))
    print(f"drew {sheet}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photographs", type=Path, nargs="+", help="Images, or folders of images.")
    parser.add_argument("--like", type=Path, required=True, help="The image with the region to look for.")
    parser.add_argument(
        "--box", type=box_corners, help="The region, X1,Y1,X2,Y2 in pixels. The default is the whole image."
    )
    parser.add_argument(
        "--boxes", type=regions, default="4x6", help="Regions to extract: ROWSxCOLUMNS of a grid, or detections."
    )
    parser.add_argument("--backbone", default="efficientnet-lite0", help="As for `roialign extract --backbone`.")
    parser.add_argument("--top", type=at_least_one, default=11, help="How many regions to find.")
    parser.add_argument("--out", type=Path, default=Path("region-search"), help="Folder of the features and the sheet.")
    options = parser.parse_args()
    photographs = photographs_in(options.photographs)
    check(options.like, "--like", "an image")
    check_output(options.out, "--out")
    check_apart(options.out, "--out", options.photographs, [*photographs, options.like])
    box = query_box(options.like, options.box)
    features = options.out / "features"
    complete = extract(photographs, options.boxes, options.backbone, features)
    search(FeatureFolder.open(features), options.like, box, options.top, options.out / "sheet.png")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(ends_with_code(main))
