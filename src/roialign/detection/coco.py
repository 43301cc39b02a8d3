"""Images and objects of a COCO-format dataset, as tensors."""

from __future__ import annotations

import glob
import hashlib
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .._text import counted
from .._validate import check_path
from .._warnings import caller_level
from ..files.coco import SMALLEST_SIDE, empty_outlines_used, read_records
from ..files.image_sizes import FROM_FILE
from ..files.images import OpenPicture, open_picture
from ..files.kinds import check_is_folder
from ..files.orientation import Annotated
from ..files.problems import DatasetError, DataWarning, FileError, Problem, Problems, Remark, RowProblems
from ..files.rows import place_of
from ..files.run_lengths import area_of, box_outline, mask_of, nothing, run_lengths_of
from ..files.similar import other_names, same_file
from ..files.text import Digest, quoted

__all__ = ["CocoDataset", "DataWarning", "DatasetError", "find_split"]

#: The number of problems that one message lists.
MOST_IN_MESSAGE = 10


def open_image(path: Path, annotated: Annotated | None = None, *, large: bool = False) -> OpenPicture:
    """Decode an image, to read it or parts of it by :func:`read_part`. `large` is that of :func:`open_picture`.

    Raises
    ------
    DatasetError
        If the file is missing or is not an image. The message names the file.
    """
    try:
        return open_picture(path, annotated, large=large)
    except FileError as error:
        raise DatasetError(f"{path}: {error}") from error


def read_part(picture: OpenPicture, part: tuple[int, int, int, int] | None = None) -> Tensor:
    """Read a part (x, y, width, height) of an image, by default the whole, as ``[3, H, W]`` float32 from 0 to 1.

    Raises
    ------
    DatasetError
        If its values have no known range. The message names the file.
    """
    try:
        pixels = picture.read(part).unit_range()
    except FileError as error:
        raise DatasetError(f"{picture.path}: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def find_split(folder: Path, split: str) -> tuple[Path, Path]:
    """Find the annotation file and the image folder of a split, in the layout of `roialign scenes` or of COCO.

    For COCO's files, the name of a split may be abbreviated if it is unique: `val` finds
    ``annotations/instances_val2017.json``. For rotated boxes, see
    :func:`roialign.detection.rotated_data.find_rotated_split`.

    Raises
    ------
    DatasetError
        If they are not found. The message lists the paths that were tried, or the splits that fit the name.
    """
    check_is_folder(folder, DatasetError)
    own = folder / split / "annotations.json"
    if own.is_file():
        return own, folder / split / "images"
    exact = folder / "annotations" / f"instances_{split}.json"
    found = [exact] if exact.is_file() else sorted(folder.glob(f"annotations/instances_{glob.escape(split)}*.json"))
    names = [path.stem.removeprefix("instances_") for path in found]
    if len(found) == 1:
        return found[0], next((path for path in _image_folders(folder, names[0]) if path.is_dir()), folder / names[0])
    looked_for = f"{split}/annotations.json or annotations/instances_{split}*.json"
    if not found:
        labels = next((path for path in (folder / split).glob("labelTxt*")), None)
        hint = "" if labels is None else f"; to read the labels in DOTA's format in {labels}, use --rotated"
        raise DatasetError(f"{folder}: expected {looked_for}, found none{hint}")
    raise DatasetError(f"{folder}: split: expected one of {', '.join(names)}, got {split!r}")


def _image_folders(folder: Path, name: str) -> list[Path]:
    """The folders in which the images of a COCO split may be."""
    return [folder / name, folder / "images" / name]


class CocoDataset(Dataset[tuple[Tensor, dict[str, Any]]]):
    """A dataset in COCO format: ``dataset[i]`` is the i-th image with its objects.

    Concretely, ``image, target = dataset[i]`` gives `image` as ``[3, H, W]`` float32 from 0 to 1, and a dict `target`:

    - ``"boxes"``: ``[L, 4]`` float32 (x1, y1, x2, y2) in pixels, clipped to the image;
    - ``"labels"``: ``[L]`` int64 from 1, in the order of the category ids;
    - ``"masks"``: ``[L, H, W]`` uint8;
    - ``"image_id"``: the id of the image.

    Crowds, and objects whose box lies outside the image, are left out: in training, proposals there count as
    background, as in torchvision and detectron2. An image may have no object. The mask of an object without an outline,
    or with an outline that contains no pixel, is its box.

    Evaluation compares detections with the objects as they are annotated, as pycocotools does: boxes are not clipped,
    nothing matches an object outside the image, and an outline without a pixel is an empty mask. pycocotools requires
    an outline for masks; here, the mask of an object without one is its box in evaluation, too.

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

    annotations_hash: str | None = None
    """The SHA-256 of the annotation file, or of the label files. None if they were not read from a file."""

    def __init__(
        self, annotations: str | Path, images: str | Path, problems: Problems | None = None, *, strict: bool = False
    ) -> None:
        self.annotations = check_path(annotations, "annotations")
        self.images, self.strict = check_path(images, "images"), strict
        found = Problems()
        digest = hashlib.sha256()
        self.records = self._read_records(found, digest)
        self.annotations_hash = digest.hexdigest()
        if strict and found:
            count = counted(_rows_of(found.found), "row")
            raise DatasetError(f"{_listed(found.found)}\n{count} of {self.annotations} cannot be used")
        self.problems = Problems(_warn, _warn) if problems is None else problems
        self._include(found)
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

    def _include(self, found: Problems) -> None:
        """Add problems and remarks. If they are warnings, a single one lists those that are new."""
        problems = self.problems
        if problems.listener is not _warn:
            problems.include(found)
            return
        known = len(problems.found), len(problems.remarks)
        problems.listener = problems.remark_listener = None
        problems.include(found)
        problems.listener = problems.remark_listener = _warn
        new = [*problems.found[known[0] :], *problems.remarks[known[1] :]]
        if new:
            warnings.warn(_listed(new), DataWarning, stacklevel=caller_level())

    def _read_records(self, problems: Problems, digest: Digest) -> dict[str, list[dict[str, Any]]]:
        return read_records(self.annotations, problems, path_of=self._path_of, digest=digest)

    def __len__(self) -> int:
        return len(self.rows)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """The indices of all images, in a random order for one epoch of training."""
        return torch.randperm(len(self), generator=generator, device="cpu")

    def path(self, index: int) -> Path:
        """The path of the image.

        If there is no file of exactly this name, its letters may be in another Unicode form, backslashes are read as
        separators, escaped characters such as ``%20`` as what they mean, and a URL by its path or its last part.
        """
        return self._path_of(str(self.rows[index]["file_name"]))

    def _path_of(self, name: str) -> Path:
        path = same_file(self.images / name)
        others = [same_file(self.images / other) for other in other_names(name)]
        if not others or os.path.exists(path):  # False for an invalid file name
            return path
        return next((other for other in others if os.path.exists(other)), others[-1])

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        image, target, remarks = self.read(index)
        self.report(index, remarks)
        return image, target

    def read(self, index: int) -> tuple[Tensor, dict[str, Any], list[Remark]]:
        """Return ``dataset[index]`` and remarks about it, which are not reported.

        Raises
        ------
        DatasetError
            If the image cannot be read. The message names it.
        """
        image, remarks = self._pixels(index)
        target, empty = self._target(self.rows[index])
        if empty:
            count = counted(empty, "object has an outline", "objects have outlines")
            remarks.append(Remark(f"{count} without a pixel: {empty_outlines_used(empty)}", "empty outlines"))
        return image, target, remarks

    def _pixels(self, index: int) -> tuple[Tensor, list[Remark]]:
        """The image, and remarks about it."""
        picture = self.open_picture(index)
        return read_part(picture), [] if picture.remark is None else [picture.remark]

    def open_picture(self, index: int, *, large: bool = False) -> OpenPicture:
        """Decode the image, to read parts of it. `large` is that of :func:`roialign.files.images.open_picture`.

        Raises
        ------
        DatasetError
            If the image cannot be read. The message names it.
        """
        row = self.rows[index]
        corners = [corners_of(found) for found in self._objects[row["id"]]]
        size = row["width"], row["height"]
        annotated = Annotated(None if row.get(FROM_FILE) else size, corners, str(self.annotations))
        picture = open_image(self.path(index), annotated, large=large)
        if (picture.width, picture.height) != size:
            now = f"{picture.width}x{picture.height}"
            raise DatasetError(
                f"{picture.path}: expected {size[0]}x{size[1]} pixels, as when the dataset was read, got {now}"
            )
        return picture

    def report(self, index: int, remarks: Sequence[Remark]) -> None:
        """Report remarks about an image."""
        for remark in remarks:
            self.problems.remark(self.path(index), remark.what, remark.kind)

    def objects(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """The objects and crowds within an image, with boxes clipped to it, for training."""
        clipped = ((found, clipped_box(found, row)) for found in self._objects[row["id"]])
        return [{**found, "bbox": box} for found, box in clipped if box is not None]

    def annotated_objects(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """The objects and crowds of an image as they are annotated, for evaluation. Some may lie outside the image."""
        return self._objects[row["id"]]

    def outside(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The objects other than crowds that lie outside their image, each with the row of the image."""
        for row in self.rows:
            for found in self._objects[row["id"]]:
                if not found["iscrowd"] and clipped_box(found, row) is None:
                    yield found, row

    def report_outside(self, *, quiet: bool = False) -> None:
        """Report the objects that lie outside their image, and so are left out of training. `quiet` only checks them.

        Raises
        ------
        DatasetError
            If there is one and the dataset is `strict`.
        """
        found = Problems()
        wrong = RowProblems(found, f"{self.annotations}: annotations")
        for one, row in self.outside():
            size = f"{row['width']}x{row['height']}"
            what = f"bbox: expected a box in the image of {size} pixels, got {quoted(one['bbox'])}: not trained on"
            wrong.add(self._place(one, row), what)
        wrong.end()
        if self.strict and found:
            raise DatasetError(
                f"{_listed(found.found)}\n{counted(_rows_of(found.found), 'object')} cannot be trained on"
            )
        if not quiet:
            self._include(found)

    def _place(self, found: dict[str, Any], row: dict[str, Any]) -> str:
        """The position of an object for a message."""
        del row
        return place_of(self.annotations, "annotations", found["row"])

    def run_lengths(self, found: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
        """The mask of an object of :meth:`annotated_objects`, or that of its box if it has no outline."""
        if found.get("segmentation"):
            return run_lengths_of(found["segmentation"], row["height"], row["width"])
        box = clipped_box(found, row)
        if box is None:
            return nothing(row["height"], row["width"])
        return self._run_lengths({**found, "bbox": box}, row)[0]

    def _run_lengths(self, found: dict[str, Any], row: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The mask, and whether the outline contains no pixel."""
        x, y, width, height = found["bbox"]
        left, top = math.floor(x), math.floor(y)
        touched = [left, top, math.ceil(x + width) - left, math.ceil(y + height) - top]
        outline = found.get("segmentation")
        for shape in (outline, box_outline(found["bbox"])):
            lengths = run_lengths_of(shape, row["height"], row["width"]) if shape else None
            if lengths is not None and area_of(lengths) > 0:
                return lengths, bool(outline) and shape is not outline
        return run_lengths_of(box_outline(touched), row["height"], row["width"]), bool(outline)

    def _target(self, row: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """The objects, and the number of outlines that contain no pixel."""
        height, width = row["height"], row["width"]
        objects, target = self._boxes(row)
        lengths = [self._run_lengths(found, row) for found in objects]
        masks = [torch.from_numpy(mask_of(one)) for one, _ in lengths]
        nothing = torch.zeros(0, height, width, dtype=torch.uint8, device="cpu")
        target["masks"] = torch.stack(masks) if masks else nothing
        return target, sum(is_empty for _, is_empty in lengths)

    def _boxes(self, row: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The objects other than crowds, and their boxes and labels."""
        objects = [found for found in self.objects(row) if not found["iscrowd"]]
        corners = [corners_of(found) for found in objects]
        labels = [self._labels[found["category_id"]] for found in objects]
        return objects, {
            "boxes": torch.tensor(corners, dtype=torch.float64, device="cpu").reshape(-1, 4).float(),
            "labels": torch.tensor(labels, dtype=torch.int64, device="cpu"),
            "image_id": row["id"],
        }


def clipped_box(found: dict[str, Any], row: dict[str, Any]) -> list[float] | None:
    """The box (x, y, width, height) of an object, clipped to its image. None if the object lies outside."""
    limits = (row["width"], row["height"])
    corners = corners_of(found)
    x1, y1, x2, y2 = (min(max(corners[i], 0.0), float(limits[i % 2])) for i in range(4))
    least = SMALLEST_SIDE * max(limits)  # a remainder without area in float32 counts as outside
    return [x1, y1, x2 - x1, y2 - y1] if min(x2 - x1, y2 - y1) > least else None


def corners_of(found: dict[str, Any]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of an object."""
    x, y, width, height = found["bbox"]
    return x, y, x + width, y + height


def _rows_of(found: list[Problem]) -> int:
    return sum(problem.rows for problem in found)


def _listed(found: list[Problem]) -> str:
    more = [f"and {_rows_of(found[MOST_IN_MESSAGE:])} more"] if len(found) > MOST_IN_MESSAGE else []
    return "\n".join([*map(str, found[:MOST_IN_MESSAGE]), *more])


def _warn(problem: Problem) -> None:
    warnings.warn(str(problem), DataWarning, stacklevel=caller_level())
