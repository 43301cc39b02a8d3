"""COCO files with what people have in them: rows to start from, and one thing changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.files.images import encoded, ramp

Content = dict[str, Any]
#: Of the images of every set here.
WIDTH, HEIGHT = 64, 48


def content_of(images: int = 2) -> Content:
    """A good set: every image has a cat and a dog."""
    rows = [{"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in range(1, images + 1)]
    annotations: list[dict[str, Any]] = []
    for row in rows:
        for category, box in ((1, [4, 6, 20, 16]), (2, [30, 10, 24, 30])):
            number = len(annotations) + 1
            annotations.append(
                {"id": number, "image_id": row["id"], "category_id": category, "bbox": box, "area": box[2] * box[3]}
            )
    return {
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "images": rows,
        "annotations": annotations,
    }


def changed(section: str, row: int, **values: Any) -> Content:
    """A good set but for one row; a value of `...` takes the name away."""
    content = content_of()
    for name, value in values.items():
        if value is ...:
            content[section][row].pop(name)
        else:
            content[section][row][name] = value
    return content


def write_set(folder: Path, content: object, split: str = "val", *, bom: bool = False) -> Path:
    """A set in the layout of `roialign scenes`; the path of its annotations."""
    pictures = folder / split / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    rows = content.get("images") if isinstance(content, dict) else None
    for row in rows if isinstance(rows, list) else []:
        name = row.get("file_name") if isinstance(row, dict) else None
        if isinstance(name, str) and name and "\0" not in name and not (pictures / name).exists():
            (pictures / name).parent.mkdir(parents=True, exist_ok=True)
            (pictures / name).write_bytes(encoded(ramp(255, "uint8", WIDTH, HEIGHT)))
    path = folder / split / "annotations.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    return path


def with_segmentation(segmentation: object) -> Content:
    """A good set whose first object has this outline."""
    return changed("annotations", 0, segmentation=segmentation)


def everywhere(section: str, name: str, change: Callable[[Any], Any]) -> Content:
    """A good set with a value of every row of a section changed."""
    content = copy.deepcopy(content_of())
    for row in content[section]:
        row[name] = change(row[name])
    return content
