"""Find the regions of a folder of photographs that are most like a region of one of them, and draw them.

python examples/region_search.py photos --like photos/cat.jpg --box 180,40,330,190 --out found
python examples/region_search.py photos --like photos/cat.jpg --boxes detections --backbone detector:run --out found
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from roialign.extract.folders import expand_folders
from roialign.features import BackboneOptions, DetectedBoxes, GridBoxes, JobSettings, prepare, run
from roialign.files.images import IMAGE_ENDINGS
from roialign.search import Encoder, FeatureFolder, RegionIndex, draw_sheet
from roialign.search.sheets import Tile


def extract(photographs: list[Path], grid: str, backbone: str, out: Path) -> FeatureFolder:
    """Extract a vector for every region. If the features are already there, nothing is done."""
    rows, _, columns = grid.partition("x")
    boxes = DetectedBoxes() if grid == "detections" else GridBoxes(int(rows), int(columns))
    levels = "16" if backbone == "efficientnet-lite0" else "default"
    settings = JobSettings(backbone=backbone, sizes=((1, 1),), levels=levels)
    images = expand_folders(photographs, IMAGE_ENDINGS)
    report = run(prepare(images, boxes, out, settings, BackboneOptions(threads=2)), readers=0)
    print(f"extracted {report.boxes} regions of {report.images} photographs into {out}")
    for image, why in report.errors.items():
        print(f"{image}: {why}", file=sys.stderr)
    return FeatureFolder.open(out)


def search(folder: FeatureFolder, like: Path, box: tuple[float, ...], top: int, sheet: Path) -> None:
    """Load all vectors, find the nearest ones, print them and draw a contact sheet."""
    index = RegionIndex.of_folder(folder)
    encoder = Encoder(folder)
    corners = box or encoder.whole(like)
    query = encoder.encode(like, [corners])
    start = time.perf_counter()
    positions, scores = index.search(query, top)
    milliseconds = 1000 * (time.perf_counter() - start)
    print(f"searched {len(index.vectors)} regions in {milliseconds:.1f} ms")
    tiles = []
    for region, score in zip(folder.regions(positions[0]), scores[0], strict=True):
        print(f"{score:.3f}  {region.image}  {region.label}  {', '.join(f'{side:g}' for side in region.box)}")
        lines = (f"{score:.3f} {region.label}", Path(region.image).name)
        tiles.append(Tile(Path(region.image), region.box, lines, region.image_size))
    for image, why in draw_sheet(sheet, [Tile(like, corners, ("query", like.name))], [tiles]).items():
        print(f"{image}: {why}", file=sys.stderr)
    print(f"drew {sheet}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photographs", type=Path, nargs="+", help="Images, or folders of images.")
    parser.add_argument("--like", type=Path, required=True, help="The image with the region to look for.")
    parser.add_argument("--box", default="", help="The region, X1,Y1,X2,Y2 in pixels. The default is the whole image.")
    parser.add_argument("--boxes", default="4x6", help="Regions to extract: ROWSxCOLUMNS of a grid, or detections.")
    parser.add_argument("--backbone", default="efficientnet-lite0", help="As for `roialign extract --backbone`.")
    parser.add_argument("--top", type=int, default=11, help="How many regions to find.")
    parser.add_argument("--out", type=Path, default=Path("region-search"), help="Folder of the features and the sheet.")
    options = parser.parse_args()
    box = tuple(map(float, options.box.split(","))) if options.box else ()
    try:
        folder = extract(options.photographs, options.boxes, options.backbone, options.out / "features")
        search(folder, options.like, box, options.top, options.out / "sheet.png")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
