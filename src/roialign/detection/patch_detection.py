"""Detection on large images: a detector runs on overlapping patches, and the detections of all patches are merged."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .._rotated_boxes import shares_inside
from .._typing import Array
from .._validate import check_instance
from ..files.images import OpenPicture
from ..files.run_lengths import RunLengths, encoded, mask_of, placed
from ..ops.rotated_iou import rotated_iou
from .box_kinds import BoxKind
from .boxes import batched_nms
from .coco import open_image
from .heads import MASK_THRESHOLD
from .model_inputs import check_detector, for_model
from .models import TwoStageDetector
from .patches import Patch, PatchSettings, read_patch

#: A detection that ends this close to a border of its patch, as a share of the overlap, is cut by the border.
CLOSE_TO_BORDER = 0.05
#: A cut detection is a part of an object if more than this share of it lies in a detection that shows more of it.
PART = 0.5


@dataclass(frozen=True, slots=True)
class PatchMask:
    """The mask of a detection, within its patch."""

    lengths: RunLengths
    x: int
    y: int
    """The first pixel of the patch in the image."""

    def pixels(self) -> tuple[Array, int, int]:
        """The mask ``[H, W]`` without its empty border, and the column and the row of its first pixel in the image."""
        mask = mask_of(self.lengths).astype(bool)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return mask[:0, :0], self.x, self.y
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return part, self.x + int(columns[0]), self.y + int(rows[0])

    def in_image(self, height: int, width: int) -> RunLengths:
        """The run lengths of the mask in an image of this size."""
        return placed(*self.pixels(), height, width)


@dataclass(slots=True)
class _Collected:
    """The detections of all patches, in pixels of the image."""

    found: list[dict[str, Tensor]] = field(default_factory=list)
    masks: list[PatchMask] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)


@torch.no_grad()  # the detections of every patch are kept, and each would keep the graph of its patch
def detect_in_patches(
    model: TwoStageDetector,
    image: str | Path | OpenPicture,
    settings: PatchSettings,
    progress: Callable[[], None] | None = None,
) -> tuple[dict[str, Tensor], list[PatchMask]]:
    """Detect objects in a large image, patch by patch.

    The detections of a patch are moved to their place in the image, and those whose centre lies beyond the image are
    left out. A detection is cut if it ends at a border of its patch inside the image. It shows a part of an object, and
    is left out, if more than half of it lies in a detection of the same class from another patch that is not cut or is
    larger. The others suppress each other over the whole image, by class, at the threshold of the detector. No
    gradients are recorded.

    Parameters
    ----------
    model : TwoStageDetector
        The detector, in evaluation mode. Patches are resized as images are.
    image : path or OpenPicture
        The image. It may have up to 2^30 pixels.
    settings : PatchSettings
        The patches.
    progress : function, optional
        Called without arguments after every patch.

    Returns
    -------
    detections : dict of Tensor
        What a call of the model returns for an image, on the CPU, without `masks`.
    masks : list of PatchMask
        The masks of the detections; empty if the model has none. The mask of a detection ends at the border of the
        patch that it was found in.

    Raises
    ------
    DatasetError
        If the image cannot be read. The message names it.
    TypeError, ValueError
        If an argument is something else, or if the model is in training mode.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from roialign.detection import PatchSettings, PyramidBackbone, detect_in_patches, oriented_rcnn
    >>> path = Path(tempfile.mkdtemp()) / "image.png"
    >>> Image.new("RGB", (200, 90)).save(path)
    >>> model = oriented_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=32)
    >>> found, masks = detect_in_patches(model.eval(), path, PatchSettings(64, 16))
    >>> sorted(found)
    ['boxes', 'labels', 'rotated_boxes', 'scores']
    """
    check_detector(model)
    check_instance(settings, "settings", PatchSettings)
    if model.training:
        raise ValueError("model: expected a model in evaluation mode, got one in training mode; call model.eval()")
    if not isinstance(image, (str, os.PathLike, OpenPicture)):
        raise TypeError(f"image: expected the path of an image, got {type(image).__name__}")
    picture = image if isinstance(image, OpenPicture) else open_image(Path(image), large=True)
    collected = _Collected()
    for patch in settings.patches(picture.width, picture.height):
        found = model([for_model(read_patch(picture, patch), model)])[0]
        _collect(collected, {name: values.cpu() for name, values in found.items()}, patch, picture, model)
        if progress is not None:
            progress()
    return _merged(collected, model, settings, picture)


def _collect(
    collected: _Collected, found: dict[str, Tensor], patch: Patch, picture: OpenPicture, model: TwoStageDetector
) -> None:
    """Move the detections of a patch to their place in the image."""
    heads = model.roi_heads
    kind = heads.kind
    boxes = kind.move(found[kind.key], patch.x, patch.y)
    hulls = kind.hulls(boxes)
    centres = 0.5 * (hulls[:, :2] + hulls[:, 2:])
    inside = (centres <= centres.new_tensor([picture.width, picture.height])).all(dim=1)
    boxes = kind.clip(boxes, (picture.height, picture.width))
    kept = torch.where(inside & kind.large_enough(boxes, heads.settings.smallest_side))[0]
    if len(kept) == 0:
        return
    collected.found.append(
        {"boxes": boxes[kept], "scores": found["scores"][kept], "labels": found["labels"][kept]}
        | {"patches": torch.full((len(kept),), len(collected.patches), device="cpu")}
    )
    collected.patches.append(patch)
    for index in kept.tolist() if "masks" in found else ():
        mask = encoded((found["masks"][index, 0] > MASK_THRESHOLD).numpy())
        collected.masks.append(PatchMask(mask, patch.x, patch.y))


def _merged(
    collected: _Collected, model: TwoStageDetector, settings: PatchSettings, picture: OpenPicture
) -> tuple[dict[str, Tensor], list[PatchMask]]:
    """The detections that are left over the whole image, best score first."""
    heads = model.roi_heads
    kind = heads.kind
    if not collected.found:
        empty = torch.zeros(0, kind.numbers, device="cpu")
        return {**kind.found(empty), "scores": empty[:, 0], "labels": empty[:, 0].long()}, []
    every = {name: torch.cat([one[name] for one in collected.found]) for name in collected.found[0]}
    boxes, scores, labels = every["boxes"], every["scores"], every["labels"]
    part = parts_of_objects(kind, boxes, labels, every["patches"], collected.patches, settings, picture)
    rest = torch.where(~part)[0]
    # Upright boxes are suppressed as rotated ones, whose overlaps are not stored. An image can have very many boxes.
    rows = kind.as_rotated(boxes[rest].double())
    kept = rest[batched_nms(rows, scores[rest].double(), labels[rest], heads.settings.nms_threshold)]
    masks = [collected.masks[index] for index in kept.tolist()] if collected.masks else []
    return {**kind.found(boxes[kept]), "scores": scores[kept], "labels": labels[kept]}, masks


def parts_of_objects(
    kind: BoxKind,
    boxes: Tensor,
    labels: Tensor,
    places: Tensor,
    patches: list[Patch],
    settings: PatchSettings,
    picture: OpenPicture,
) -> Tensor:
    """Whether each detection is cut by its patch and shows a part of what another patch shows more of, ``[L]``.

    `boxes` are in pixels of the image, and `places` the indices of their patches in `patches`.
    """
    hulls = kind.hulls(boxes)
    corners = hulls.new_tensor([patch.corners for patch in patches])
    size = corners.new_tensor([picture.width, picture.height])
    inner = torch.cat([corners[:, :2] > 0, corners[:, 2:] < size], dim=1)
    beyond = torch.cat([corners[places, :2] - hulls[:, :2], hulls[:, 2:] - corners[places, 2:]], dim=1)
    cut = (inner[places] & (beyond >= -CLOSE_TO_BORDER * settings.shared)).any(dim=1)
    rows = kind.as_rotated(boxes.double())
    areas = rows[:, 2] * rows[:, 3]
    part = torch.zeros_like(cut)
    for place in sorted(set(places[cut].tolist())):
        own = torch.where(cut & (places == place))[0]
        corner = corners[place]
        near = (hulls[:, :2] < corner[2:]).all(dim=1) & (hulls[:, 2:] > corner[:2]).all(dim=1)
        others = torch.where(near & (places != place))[0]
        shares = shares_of(rows[own], rows[others])
        same = labels[own][:, None] == labels[others]
        larger = areas[others] > areas[own][:, None]
        earlier = (areas[others] == areas[own][:, None]) & (others < own[:, None])
        part[own] = (same & (shares > PART) & (~cut[others] | larger | earlier)).any(dim=1)
    return part


def shares_of(boxes: Tensor, others: Tensor) -> Tensor:
    """The share of the area of each rotated box that lies in each of the others, ``[L, M]``. 0 if it has no area."""
    return shares_inside(boxes, others, rotated_iou(boxes, others, clockwise=True))
