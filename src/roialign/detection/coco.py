"""Images and objects of a COCO-format set, as tensors."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from ..extract.inputs import READ_ERRORS
from ..extract.problems import Problems
from .records import DatasetError, read_records

__all__ = ["CocoDataset", "DatasetError", "find_split", "read_image"]


def read_image(path: Path, *, upright: bool = False) -> Tensor:
    """An image as ``[3, H, W]`` float32 from 0 to 1; `upright` turns it as its EXIF orientation says.

    Raises
    ------
    DatasetError
        Naming the file, where it is missing or no image.
    """
    try:
        with Image.open(path) as image:
            turned = ImageOps.exif_transpose(image) if upright else image
            pixels = np.array(turned.convert("RGB"))
    except READ_ERRORS as error:
        raise DatasetError(f"{path}: cannot be read as an image: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 255


def find_split(folder: Path, split: str) -> tuple[Path, Path]:
    """The annotation file and the image folder of one split, in the layout of `roialign scenes` or in COCO's own.

    Raises
    ------
    DatasetError
        Naming what was looked for.
    """
    own = folder / split / "annotations.json"
    if own.is_file():
        return own, folder / split / "images"
    found = sorted(folder.glob(f"annotations/instances_{split}*.json"))
    if len(found) == 1:
        return found[0], folder / found[0].stem.removeprefix("instances_")
    raise DatasetError(
        f"{folder}: expected {split}/annotations.json or one annotations/instances_{split}*.json, found {len(found)}"
    )


class CocoDataset(Dataset[tuple[Tensor, dict[str, Any]]]):
    """A COCO-format set: ``dataset[i]`` is the image and the objects of its i-th row.

    Concretely, ``image, target = dataset[i]`` has `image` ``[3, H, W]`` float32 from 0 to 1, ``target["boxes"]``
    ``[L, 4]`` float32 corners in pixels clipped to the image, ``target["labels"]`` ``[L]`` int64 from 1, in the order
    of the category numbers, ``target["masks"]`` ``[L, H, W]`` uint8 and ``target["image_id"]``. Crowds are left out,
    and so is an object whose box lies outside the image.

    Parameters
    ----------
    annotations : path of the json file
    images : path of the folder that its file names start from
    problems : Problems, optional
        Collects the rows that cannot be used, so that the others are. By default they raise.

    Raises
    ------
    DatasetError
        Naming the file, the row, what was expected and what came; an unreadable image raises it when it is asked for.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from roialign.detection import CocoDataset, SceneSettings, write_scenes
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scenes(folder, {"train": 1}, SceneSettings(image_size=64, objects=(2, 2)))
    >>> image, target = CocoDataset(folder / "train/annotations.json", folder / "train/images")[0]
    >>> image.shape, target["boxes"].shape
    (torch.Size([3, 64, 64]), torch.Size([2, 4]))

    References
    ----------
    Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, https://arxiv.org/abs/1405.0312
    """

    def __init__(self, annotations: str | Path, images: str | Path, problems: Problems | None = None) -> None:
        self.annotations, self.images = Path(annotations), Path(images)
        found = Problems() if problems is None else problems
        self.records = read_records(self.annotations, found)
        if problems is None and found:
            shown = "\n".join(map(str, list(found)[:10]))
            raise DatasetError(f"{shown}\n{len(found)} rows of {self.annotations} cannot be used")
        self.rows = self.records["images"]
        categories = sorted(self.records["categories"], key=lambda row: int(row["id"]))
        self.category_ids = [int(row["id"]) for row in categories]
        self.class_names = [str(row["name"]) for row in categories]
        self._labels = {number: label for label, number in enumerate(self.category_ids, start=1)}
        self._objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in self.records["annotations"]:
            self._objects[row["image_id"]].append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def path(self, index: int) -> Path:
        """Where the image lies."""
        return self.images / str(self.rows[index]["file_name"])

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        row, path = self.rows[index], self.path(index)
        image = read_image(path)
        height, width = image.shape[-2:]
        if (height, width) != (row["height"], row["width"]):
            expected = f"expected {row['width']}x{row['height']} pixels, as in {self.annotations}"
            raise DatasetError(f"{path}: {expected}, got {width}x{height}")
        return image, self._target(row)

    def _target(self, row: dict[str, Any]) -> dict[str, Any]:
        height, width = int(row["height"]), int(row["width"])
        objects = [found for found in self._objects[row["id"]] if not found.get("iscrowd", 0)]
        boxes = torch.tensor([found["bbox"] for found in objects], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        visible = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        objects = [found for found, seen in zip(objects, visible.tolist(), strict=True) if seen]
        masks = [self._mask(found, height, width) for found in objects]
        return {
            "boxes": boxes[visible].float(),
            "labels": torch.tensor([self._labels[found["category_id"]] for found in objects], dtype=torch.int64),
            "masks": torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.uint8),
            "image_id": int(row["id"]),
        }

    def _mask(self, found: dict[str, Any], height: int, width: int) -> Tensor:
        """``[H, W]`` of 0 and 1; the box where the object has no outline."""
        from pycocotools import mask as run_lengths  # only here: the models do without it

        segmentation = found.get("segmentation") or box_outline(found["bbox"])
        try:
            if isinstance(segmentation, list):
                segmentation = run_lengths.merge(run_lengths.frPyObjects(segmentation, height, width))
            elif isinstance(segmentation["counts"], list):
                segmentation = run_lengths.frPyObjects(segmentation, height, width)
            if list(segmentation["size"]) != [height, width]:
                raise ValueError(f"expected size {[height, width]}, got {segmentation['size']}")
            return torch.from_numpy(np.asarray(run_lengths.decode(segmentation), dtype=np.uint8))
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{self.annotations}: annotation {found['id']}: segmentation: {error}") from error


def box_outline(box: list[float]) -> list[list[float]]:
    """A box (x, y, width, height) as COCO's polygons."""
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]
