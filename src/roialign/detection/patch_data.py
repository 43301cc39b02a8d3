"""A dataset whose images are cut into overlapping patches, for training on large images."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._text import counted
from .._validate import check_instance
from ..files.images import OpenPicture
from ..files.problems import DatasetError, Remark
from ..files.run_lengths import RunLengths, area_of, cropped, encoded
from .coco import CocoDataset, corners_of
from .patch_detection import shares_of
from .patches import Patch, PatchSettings, read_patch
from .rotated_boxes import from_upright
from .rotated_data import RotatedDataset

Row = dict[str, Any]

#: An object belongs to a patch if at least this share of its area in the image lies in the patch.
KEPT_SHARE = 0.7
#: The most pixels of the decoded images that are kept, 512 MB at four bytes per pixel.
MOST_PIXELS = 2**27


class PatchDataset(CocoDataset):
    """The patches of the images of a dataset: ``dataset[i]`` is the i-th patch with its objects.

    Concretely, a patch is a view of an image. Nothing is written, and an image is decoded once for as many of its
    patches as possible. An item is that of the dataset, in pixels of the patch, and its `image_id` is
    ``NAME__SIZE__X___Y``, as mmrotate names the files of patches.

    An object belongs to a patch if at least 70 % of its area in the image lies in the patch. Otherwise, it is a crowd
    there: it is not trained on, and evaluation ignores it. Rotated boxes are not clipped to the patch. Boxes and masks
    are. Patches without an object are left out. The number of objects that belong to no patch is reported.

    Use :func:`cut_into_patches`, which also makes the right class for rotated boxes.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        settings: PatchSettings,
        *,
        keep_empty: bool = False,
        progress: Callable[[], None] | None = None,
    ) -> None:
        check_instance(dataset, "dataset", CocoDataset)
        check_instance(settings, "settings", PatchSettings)
        settings.total((row["width"], row["height"]) for row in dataset.rows)  # cutting too many would take hours
        self.annotations, self.images, self.strict = dataset.annotations, dataset.images, dataset.strict
        self.problems, self.records = dataset.problems, dataset.records
        self.annotations_hash = dataset.annotations_hash
        self.category_ids, self.class_names, self._labels = dataset.category_ids, dataset.class_names, dataset._labels
        self.dataset, self.settings = dataset, settings
        self.rows: list[Row] = []
        self._objects = defaultdict(list)
        self._places: list[tuple[int, Patch]] = []
        """The index of the image, and the patch."""
        in_none = 0
        for index in range(len(dataset.rows)):
            in_none += self._cut(index, keep_empty=keep_empty, progress=progress)
        if in_none:
            lie = counted(in_none, "object lies", "objects lie")
            what = f"{lie} in no patch of {settings.size} pixels by {KEPT_SHARE:.0%}: not trained on"
            self.problems.remark(f"{self.annotations}: annotations", what, "objects in no patch")
        self._pictures = _Pictures(dataset)

    def _cut(self, index: int, *, keep_empty: bool, progress: Callable[[], None] | None) -> int:
        """Add the patches of an image. Returns the number of objects, without crowds, that belong to none of them."""
        row = self.dataset.rows[index]
        objects = self.dataset.objects(row)
        hulls = np.array([corners_of(found) for found in objects]).reshape(-1, 4)
        image = torch.tensor([[0.0, 0.0, row["width"], row["height"]]], dtype=torch.float64, device="cpu")
        boxes = self._areas(objects)
        inside = shares_of(boxes, from_upright(image))[:, 0].numpy()
        left_out = {place for place, found in enumerate(objects) if not found["iscrowd"]}
        for patch in self.settings.patches(row["width"], row["height"]):
            left, top, right, bottom = patch.corners
            near = (hulls[:, 0] < right) & (hulls[:, 1] < bottom) & (hulls[:, 2] > left) & (hulls[:, 3] > top)
            which = np.flatnonzero(near)
            window = from_upright(torch.tensor([patch.corners], dtype=torch.float64, device="cpu"))
            shares = shares_of(boxes[which], window)[:, 0].numpy()
            kept = (shares > 0) & (shares >= KEPT_SHARE * inside[which] * (1 - 1e-9))  # up to rounding
            left_out -= set(which[kept].tolist())
            found = [
                self._moved(objects[place], patch, is_kept=bool(is_kept))
                for place, is_kept in zip(which, kept, strict=True)
            ]
            if keep_empty or any(not one["iscrowd"] for one in found):
                name = f"{row['id']}__{patch.size}__{patch.x}___{patch.y}"
                self.rows.append(
                    {**row, "id": name, "width": patch.size, "height": patch.size, "place": len(self._places)}
                )
                self._objects[name] = found
                self._places.append((index, patch))
            if progress is not None:
                progress()
        return len(left_out)

    def _areas(self, objects: list[Row]) -> Tensor:
        """The boxes ``[L, 5]`` whose share in a patch counts."""
        boxes = [corners_of(found) for found in objects]
        return from_upright(torch.tensor(boxes, dtype=torch.float64, device="cpu").reshape(-1, 4))

    def _moved(self, found: Row, patch: Patch, *, is_kept: bool) -> Row:
        """An object in pixels of a patch."""
        x, y, width, height = found["bbox"]
        crowd = found["iscrowd"] if is_kept else 1
        moved = {**found, "bbox": [x - patch.x, y - patch.y, width, height], "iscrowd": crowd, "whole": found}
        moved.pop("area", None)  # that of the whole object
        return moved

    def annotated_objects(self, row: Row) -> list[Row]:
        """The objects of a patch for evaluation: clipped to it, since no detection reaches beyond it."""
        return self.objects(row)

    def outside(self) -> Iterator[tuple[Row, Row]]:
        """The objects that lie outside their image, each with the row of the image."""
        return self.dataset.outside()

    def _place(self, found: Row, row: Row) -> str:
        return self.dataset._place(found, row)

    def run_lengths(self, found: Row, row: Row) -> RunLengths:
        index, patch = self._places[row["place"]]
        whole = self.dataset.run_lengths(found["whole"], self.dataset.rows[index])
        return encoded(cropped(whole, patch.x, patch.y, patch.size, patch.size))

    def path(self, index: int) -> Path:
        """The path of the image."""
        return self.dataset.path(self._places[index][0])

    def _pixels(self, index: int) -> tuple[Tensor, list[Remark]]:
        image, patch = self._places[index]
        picture = self._pictures.get(image)
        return read_patch(picture, patch), [] if picture.remark is None else [picture.remark]

    def _run_lengths(self, found: Row, row: Row) -> tuple[RunLengths, bool]:
        index, patch = self._places[row["place"]]
        whole, empty = self.dataset._run_lengths(found["whole"], self.dataset.rows[index])
        part = encoded(cropped(whole, patch.x, patch.y, patch.size, patch.size))
        if area_of(part) > 0:
            return part, empty
        return super()._run_lengths({**found, "segmentation": None}, row)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """A random order in which the patches of an image are close together, so that it is decoded once.

        The images are shuffled, and then the patches of every group of images whose pixels are kept together.
        """
        by_image: dict[int, list[int]] = defaultdict(list)
        for place, (image, _) in enumerate(self._places):
            by_image[image].append(place)
        images = list(by_image)
        order: list[Tensor] = []
        group: list[int] = []
        pixels = 0
        for position in torch.randperm(len(images), generator=generator, device="cpu").tolist():
            image = images[position]
            size = self.dataset.rows[image]["width"] * self.dataset.rows[image]["height"]
            if group and pixels + size > MOST_PIXELS:
                order.append(_permuted(group, generator))
                group, pixels = [], 0
            group += by_image[image]
            pixels += size
        return torch.cat([*order, _permuted(group, generator)])


class RotatedPatchDataset(PatchDataset, RotatedDataset):
    """The patches of a dataset of rotated boxes: see :class:`PatchDataset`. The area is that of the rotated box."""

    def _areas(self, objects: list[Row]) -> Tensor:
        boxes = [found["rotated_box"] for found in objects]
        return torch.tensor(boxes, dtype=torch.float64, device="cpu").reshape(-1, 5)

    def _moved(self, found: Row, patch: Patch, *, is_kept: bool) -> Row:
        x, y, *others = found["rotated_box"]
        moved = super()._moved(found, patch, is_kept=is_kept)
        return {**moved, "rotated_box": [x - patch.x, y - patch.y, *others]}


def cut_into_patches(
    dataset: CocoDataset,
    settings: PatchSettings,
    *,
    keep_empty: bool = False,
    progress: Callable[[], None] | None = None,
) -> PatchDataset:
    """Return the patches of the images of a dataset, as a dataset.

    Parameters
    ----------
    dataset : CocoDataset or RotatedDataset
        The images.
    settings : PatchSettings
        The size of the patches, and how much they overlap.
    keep_empty : bool, default False
        Whether to keep patches without an object. Training leaves them out.
    progress : function, optional
        Called without arguments after every patch, kept or not.

    Returns
    -------
    PatchDataset
        It is a :class:`RotatedDataset` if `dataset` is one.

    Raises
    ------
    ValueError
        If there are more than 10 million patches.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from roialign.detection import CocoDataset, PatchSettings, SceneSettings, cut_into_patches, write_scenes
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scenes(folder, {"train": 1}, SceneSettings(image_size=160))
    >>> dataset = CocoDataset(folder / "train/annotations.json", folder / "train/images")
    >>> patches = cut_into_patches(dataset, PatchSettings(100, 40), keep_empty=True)
    >>> len(patches), patches[0][0].shape
    (4, torch.Size([3, 100, 100]))
    """
    kind = RotatedPatchDataset if isinstance(dataset, RotatedDataset) else PatchDataset
    return kind(dataset, settings, keep_empty=keep_empty, progress=progress)


def _permuted(places: list[int], generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(places), generator=generator, device="cpu")
    return torch.tensor(places, device="cpu")[order]


class _Pictures:
    """Decoded images, of which the last ones are kept. An image that could not be read is not tried again."""

    def __init__(self, dataset: CocoDataset) -> None:
        self._dataset = dataset
        self._kept: OrderedDict[int, OpenPicture] = OrderedDict()
        self._errors: dict[int, str] = {}

    def get(self, index: int) -> OpenPicture:
        """The image of the dataset.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        if index in self._errors:
            raise DatasetError(self._errors[index])
        if index not in self._kept:
            try:
                picture = self._dataset.open_picture(index, large=True)
            except DatasetError as error:
                self._errors[index] = str(error)
                raise
            room = MOST_PIXELS - picture.width * picture.height
            while self._kept and sum(kept.width * kept.height for kept in self._kept.values()) > room:
                self._kept.popitem(last=False)
            self._kept[index] = picture
        self._kept.move_to_end(index)
        return self._kept[index]

    def __getstate__(self) -> dict[str, Any]:
        """The state for another process, which decodes the images itself."""
        return {"_dataset": self._dataset, "_kept": OrderedDict(), "_errors": {}}
