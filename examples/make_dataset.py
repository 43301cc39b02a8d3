"""Make a COCO-format dataset for `roialign train` from photographs and a table of boxes.

python examples/make_dataset.py PHOTOGRAPHS... --boxes boxes.csv --out mine
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from PIL import Image, ImageOps

from roialign._text import counted
from roialign.extract.folders import expand_folders
from roialign.extract.matching import group_by_input
from roialign.files.boxes import Box, read_boxes
from roialign.files.images import IMAGE_ENDINGS
from roialign.files.problems import Problems


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photographs", type=Path, nargs="+", help="Images, or folders of images.")
    parser.add_argument(
        "--boxes", type=Path, required=True, help="A table of boxes, as for `roialign extract`. Labels are the classes."
    )
    parser.add_argument("--out", type=Path, required=True, help="Folder of the dataset.")
    parser.add_argument(
        "--longest-side", type=int, default=1024, help="Longest side in pixels. Larger photographs are resized."
    )
    parser.add_argument("--val-every", type=int, default=5, help="Put every n-th photograph into the val split.")
    options = parser.parse_args()
    problems = Problems(lambda problem: print(f"error: {problem}", file=sys.stderr))
    groups = group_by_input(
        read_boxes(options.boxes, problems), expand_folders(options.photographs, IMAGE_ENDINGS), problems
    )
    labelled = {path: boxes for path, boxes in groups.boxes.items() if boxes}
    names = sorted({box.label or "object" for boxes in labelled.values() for box in boxes})
    splits: dict[str, list[tuple[Path, list[Box]]]] = {"train": [], "val": []}
    for number, item in enumerate(labelled.items(), start=1):
        splits["val" if number % options.val_every == 0 else "train"].append(item)
    for split, items in splits.items():
        if items:
            write_split(options.out / split, items, names, options.longest_side)
            photographs = counted(len(items), "photograph")
            boxes = counted(sum(len(boxes) for _, boxes in items), "box", "boxes")
            print(
                f"wrote {options.out / split}: {photographs} with {boxes} of {counted(len(names), 'class', 'classes')}"
            )
    return 1 if problems else 0


def write_split(folder: Path, items: list[tuple[Path, list[Box]]], names: list[str], longest_side: int) -> None:
    """Write one split: upright copies of the photographs, resized if needed, and their boxes at the same scale."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (path, boxes) in enumerate(items, start=1):
        with Image.open(path) as opened:
            photograph = ImageOps.exif_transpose(opened).convert("RGB")
        scale = min(1.0, longest_side / max(photograph.size))
        photograph = photograph.resize((round(photograph.width * scale), round(photograph.height * scale)))
        name = f"{number:06d}-{path.stem}.png"
        photograph.save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": photograph.width, "height": photograph.height})
        for box in boxes:
            x1, y1, x2, y2 = (corner * scale for corner in box.corners)
            category = names.index(box.label or "object") + 1
            row = {"image_id": number, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            annotations.append({"id": len(annotations) + 1, **row, "iscrowd": 0})
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    content = {"categories": categories, "images": images, "annotations": annotations}
    (folder / "annotations.json").write_text(json.dumps(content))


if __name__ == "__main__":
    sys.exit(main())
