"""Datasets with rotated boxes: COCO's format, and DOTA's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .._validate import check_instance, check_path
from ..files.coco import read_records
from ..files.dota import read_dota_records
from ..files.problems import DatasetError, Problems
from ..files.text import Digest
from .coco import CocoDataset, find_split
from .rotated_boxes import to_convention
from .scenes import ROTATED_FILE

#: The names of the folder of DOTA's label files, next to the folder of images. mmrotate's is the second.
LABEL_FOLDERS = ("labelTxt*", "annfiles")
#: The name of DOTA's folder of images.
IMAGE_FOLDER = "images"


class RotatedDataset(CocoDataset):
    """A dataset of rotated boxes, in COCO's or DOTA's format: ``dataset[i]`` is the i-th image with its objects.

    Concretely, ``image, target = dataset[i]`` gives `image` as ``[3, H, W]`` float32 from 0 to 1, and a dict `target`:

    - ``"rotated_boxes"``: ``[L, 5]`` float32 (centre x, centre y, width, height, angle) in pixels and radians,
      clockwise, with convention `le90`: see :mod:`roialign.detection.rotated_boxes`. They are not clipped to the image;
    - ``"boxes"``: ``[L, 4]`` float32 (x1, y1, x2, y2), their upright hulls, clipped to the image;
    - ``"labels"``: ``[L]`` int64 from 1, in the order of the category ids;
    - ``"difficult"``: ``[L]`` bool. Evaluation ignores difficult objects; training uses them;
    - ``"image_id"``: the id of the image. For DOTA, it is the name of the file without the ending.

    Crowds, and objects whose hull lies outside the image, are left out. Evaluation keeps such objects, although nothing
    can match them. There are no masks.

    In COCO's format, a rotated box is the `bbox` of a row if it has five numbers, as detectron2 writes them: centre x,
    centre y, width, height, and degrees, counter-clockwise. Otherwise, it is the smallest rectangle around the outline
    in `segmentation`: polygons, or the pixels of a mask. For a row without an outline, it is the upright box. An object
    with ``"difficult": 1`` is difficult.

    In DOTA's format, `annotations` is the folder of label files: see :mod:`roialign.files.dota`.

    Parameters
    ----------
    annotations : path
        A JSON file, or a folder of DOTA's label files.
    images : path
        The folder of the images.
    problems, strict : as in :class:`CocoDataset`

    Raises
    ------
    DatasetError
        As :class:`CocoDataset` does.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from roialign.detection import SceneSettings, write_scenes
    >>> from roialign.detection.rotated_data import RotatedDataset, find_rotated_split
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scenes(folder, {"train": 1}, SceneSettings(image_size=64, objects=(2, 2), rotated_boxes=True))
    >>> image, target = RotatedDataset(*find_rotated_split(folder, "train"))[0]
    >>> target["rotated_boxes"].shape, target["boxes"].shape
    (torch.Size([2, 5]), torch.Size([2, 4]))

    References
    ----------
    Xia et al., "DOTA: A Large-scale Dataset for Object Detection in Aerial Images", CVPR 2018,
    https://arxiv.org/abs/1711.10398
    """

    def _read_records(self, problems: Problems, digest: Digest) -> dict[str, list[dict[str, Any]]]:
        if self.annotations.is_dir():
            return read_dota_records(self.annotations, self.images, problems, digest)
        return read_records(self.annotations, problems, rotated=True, path_of=self._path_of, digest=digest)

    def _place(self, found: dict[str, Any], row: dict[str, Any]) -> str:
        if not self.annotations.is_dir():
            return super()._place(found, row)
        return f"{self.annotations / row['labels']}: line {found['row']}"

    def _target(self, row: dict[str, Any]) -> tuple[dict[str, Any], int]:
        objects, target = self._boxes(row)
        boxes = [found["rotated_box"] for found in objects]
        rotated = torch.tensor(boxes, dtype=torch.float64, device="cpu").reshape(-1, 5)
        target["rotated_boxes"] = to_convention(rotated.float())
        difficult = [found["difficult"] for found in objects]
        target["difficult"] = torch.tensor(difficult, dtype=torch.bool, device="cpu")
        return target, 0


def open_split(
    folder: str | Path, split: str, problems: Problems | None = None, *, strict: bool = False, rotated: bool = False
) -> CocoDataset:
    """The dataset of a split of a folder: of rotated boxes if `rotated`, or else of upright boxes and masks.

    Raises
    ------
    DatasetError
        As :func:`find_split`, :func:`find_rotated_split` and the dataset do.
    """
    folder = check_path(folder, "folder")
    check_instance(split, "split", str)
    if rotated:
        return RotatedDataset(*find_rotated_split(folder, split), problems, strict=strict)
    return CocoDataset(*find_split(folder, split), problems, strict=strict)


def find_rotated_split(folder: Path, split: str) -> tuple[Path, Path]:
    """Find the annotations and the image folder of a split with rotated boxes.

    Concretely, these are tried in turn: ``SPLIT/annotations_rotated.json``, as `roialign scenes --rotated` writes it;
    DOTA's ``SPLIT/labelTxt`` or ``SPLIT/labelTxt-v1.5`` and the like, or mmrotate's ``SPLIT/annfiles``, each with
    ``SPLIT/images``; and then the layouts of :func:`find_split`.

    Raises
    ------
    DatasetError
        If they are not found. The message lists the paths that were tried, or those that fit the name.
    """
    own = folder / split / ROTATED_FILE
    if own.is_file():
        return own, folder / split / IMAGE_FOLDER
    labels = sorted(path for name in LABEL_FOLDERS for path in (folder / split).glob(name) if path.is_dir())
    if len(labels) > 1:
        names = ", ".join(path.name for path in labels)
        raise DatasetError(f"{folder / split}: expected one folder of labels, got {names}")
    if labels:
        return labels[0], folder / split / IMAGE_FOLDER
    try:
        return find_split(folder, split)
    except DatasetError as error:
        if not folder.is_dir():
            raise
        raise DatasetError(f"{error}; for rotated boxes also {split}/{ROTATED_FILE} or {split}/labelTxt/") from error
