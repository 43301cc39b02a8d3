"""Images and objects of a COCO-format dataset, as tensors."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..files.coco import read_records
from ..files.images import read_picture
from ..files.orientation import Annotated
from ..files.problems import DatasetError, DataWarning, FileError, Problem, Problems
from ..files.run_lengths import box_outline, mask_of, run_lengths_of

__all__ = ["CocoDataset", "DataWarning", "DatasetError", "find_split", "read_image"]

#: The number of problems that one message lists.
MOST_IN_MESSAGE = 10


def read_image(path: Path) -> Tensor:
    """Read an image as ``[3, H, W]`` float32 from 0 to 1, rotated upright by its EXIF orientation.

    Raises
    ------
    DatasetError
        If the file is missing or is not an image, or if its values have no known range. The message names the file.
    """
    return _read(path, None)[0]


def _read(path: Path, annotated: Annotated | None) -> tuple[Tensor, str | None]:
    """The pixels, and a remark about their orientation, if any."""
    try:
        picture = read_picture(path, annotated)
        pixels = picture.unit_range()
    except FileError as error:
        raise DatasetError(f"{path}: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), picture.remark


def find_split(folder: Path, split: str) -> tuple[Path, Path]:
    """Find the annotation file and the image folder of a split, in the layout of `roialign scenes` or of COCO.

    Raises
    ------
    DatasetError
        If they are not found. The message lists the paths that were tried.
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
    """A dataset in COCO format: ``dataset[i]`` is the i-th image with its objects.

    Concretely, ``image, target = dataset[i]`` gives `image` as ``[3, H, W]`` float32 from 0 to 1, and a dict `target`:

    - ``"boxes"``: ``[L, 4]`` float32 (x1, y1, x2, y2) in pixels, clipped to the image;
    - ``"labels"``: ``[L]`` int64 from 1, in the order of the category ids;
    - ``"masks"``: ``[L, H, W]`` uint8;
    - ``"image_id"``: the id of the image.

    Crowds, and objects whose box lies outside the image, are left out.

    Images are rotated upright by their EXIF orientation. Annotations are assumed to refer to the upright image, unless
    the annotation file gives the size of the image as stored: see :mod:`roialign.files.orientation`.

    Parameters
    ----------
    annotations : path
        The JSON file.
    images : path
        The folder that the file names in the JSON file are relative to.
    problems : Problems, optional
        Collects the rows that cannot be used, and other remarks. By default, a :class:`DataWarning` lists them.
    strict : bool, default False
        If True, raise an error for a row that cannot be used, instead of skipping it. :func:`train` and
        :func:`evaluate_model` then also raise an error for an image that cannot be read.

    Raises
    ------
    DatasetError
        If the file cannot be read, or if it has an unusable row and `strict` is True. The message names the file, the
        row, what was expected and what was found. An unreadable image raises the error when it is accessed.

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

    def __init__(
        self, annotations: str | Path, images: str | Path, problems: Problems | None = None, *, strict: bool = False
    ) -> None:
        self.annotations, self.images, self.strict = Path(annotations), Path(images), strict
        found = Problems()
        self.records = read_records(self.annotations, found)
        if strict and found:
            raise DatasetError(f"{_listed(found.found)}\n{len(found)} rows of {self.annotations} cannot be used")
        self.problems = Problems() if problems is None else problems
        self.problems.include(found)
        if problems is None:
            if found or found.remarks:
                warnings.warn(_listed([*found, *found.remarks]), DataWarning, stacklevel=2)
            self.problems.listener = self.problems.remark_listener = _warn
        self.rows = self.records["images"]
        categories = sorted(self.records["categories"], key=lambda row: int(row["id"]))
        if not categories:
            raise DatasetError(f"{self.annotations}: categories: expected at least one, got none")
        self.category_ids = [int(row["id"]) for row in categories]
        self.class_names = [str(row["name"]) for row in categories]
        self._labels = {number: label for label, number in enumerate(self.category_ids, start=1)}
        self._objects: dict[int | str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.records["annotations"]:
            self._objects[row["image_id"]].append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def path(self, index: int) -> Path:
        """The path of the image. Backslashes separate folders, unless a file with exactly that name exists."""
        name = str(self.rows[index]["file_name"])
        path = self.images / name
        if "\\" in name and not os.path.exists(path):  # False for names that no file can have
            return self.images / PureWindowsPath(name).as_posix()
        return path

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        image, target, remark = self.read(index)
        if remark is not None:
            self.report(index, remark)
        return image, target

    def read(self, index: int) -> tuple[Tensor, dict[str, Any], str | None]:
        """Return ``dataset[index]`` and a remark about it, if any. The remark is not reported.

        Raises
        ------
        DatasetError
            If the image cannot be read. The message names it.
        """
        row, path = self.rows[index], self.path(index)
        size = (row["width"], row["height"])
        image, remark = _read(path, Annotated(size, [corners_of(found) for found in self._objects[row["id"]]]))
        height, width = image.shape[-2:]
        if (width, height) != size:
            expected = f"expected {size[0]}x{size[1]} pixels, as in {self.annotations}"
            raise DatasetError(f"{path}: {expected}, got {width}x{height}")
        return image, self._target(row), remark

    def report(self, index: int, remark: str) -> None:
        """Report a remark about an image."""
        self.problems.remark(self.path(index), remark, "EXIF orientation")

    def objects(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """The objects and crowds within an image, with boxes clipped to it, for both training and evaluation."""
        limits = (row["width"], row["height"])
        seen = []
        for found in self._objects[row["id"]]:
            corners = corners_of(found)
            x1, y1, x2, y2 = (min(max(corners[i], 0.0), float(limits[i % 2])) for i in range(4))
            if x2 > x1 and y2 > y1:
                seen.append({**found, "bbox": [x1, y1, x2 - x1, y2 - y1]})
        return seen

    def run_lengths(self, found: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
        """The mask of an object of :meth:`objects`, or its box if it has no outline."""
        outline = found.get("segmentation") or box_outline(found["bbox"])
        return run_lengths_of(outline, row["height"], row["width"])

    def _target(self, row: dict[str, Any]) -> dict[str, Any]:
        height, width = row["height"], row["width"]
        objects = [found for found in self.objects(row) if not found["iscrowd"]]
        corners = [corners_of(found) for found in objects]
        masks = [torch.from_numpy(mask_of(self.run_lengths(found, row))) for found in objects]
        return {
            "boxes": torch.tensor(corners, dtype=torch.float64).reshape(-1, 4).float(),
            "labels": torch.tensor([self._labels[found["category_id"]] for found in objects], dtype=torch.int64),
            "masks": torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.uint8),
            "image_id": row["id"],
        }


def corners_of(found: dict[str, Any]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of an object."""
    x, y, width, height = found["bbox"]
    return x, y, x + width, y + height


def _listed(found: list[Problem]) -> str:
    more = [f"and {len(found) - MOST_IN_MESSAGE} more"] if len(found) > MOST_IN_MESSAGE else []
    return "\n".join([*map(str, found[:MOST_IN_MESSAGE]), *more])


def _warn(problem: Problem) -> None:
    warnings.warn(str(problem), DataWarning, stacklevel=4)
