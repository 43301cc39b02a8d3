"""The order and augmentation of the training images, as functions of the seed and of the position in the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..._signals import leave_signals_to_parent
from ..._text import one_line
from ..._validate import check_instance
from ...files.problems import Remark
from ..box_kinds import KINDS
from ..coco import CocoDataset, DatasetError
from ..evaluation import patch_count
from ..patch_data import PatchDataset, cut_into_patches
from ..patches import PatchSettings
from ..processes import process_count, process_rank
from ..rotated_data import RotatedDataset
from ..settings import DetectorSettings
from .events import Cut, Report
from .randomness import MIRROR, ORDER, generator_of
from .settings import TrainSettings, naming_settings_of_patches

Example = tuple[Tensor, dict[str, Any]]


class Drawn(NamedTuple):
    """The item at one position of the stream, and what to report about it."""

    example: Example | None
    """The image and its target, or None if no image of the dataset can be read."""
    row: int
    """The index of the image in the dataset."""
    remarks: list[Remark]
    unreadable: dict[int, str]
    """The images that could not be read at this position, and why."""


class Stream(Dataset[Drawn]):
    """An endless stream of training images, mirrored at random. ``stream[p]`` is the p-th image of a run.

    If the settings ask for patches, it is a stream of patches.

    Concretely, each block of ``len(dataset)`` positions is one epoch, with its own permutation of the dataset. An image
    that cannot be read is replaced by the next readable one of the epoch. Problems are returned with the item instead
    of being reported, because a worker process cannot report them.
    """

    def __init__(self, dataset: CocoDataset, settings: TrainSettings, report: Report | None = None) -> None:
        check_instance(dataset, "dataset", CocoDataset)
        check_instance(settings, "settings", TrainSettings)
        if len(dataset) == 0:
            raise DatasetError(f"{dataset.annotations}: expected at least one image, got none")
        if not any(dataset.objects(row) for row in dataset.rows):
            raise DatasetError(f"{dataset.annotations}: expected at least one object in an image, got none")
        dataset.report_outside(quiet=process_rank() != 0)
        _check_fit(dataset, settings.detector)
        if settings.patches is not None:
            dataset = _cut(dataset, settings.patches, report)
            if len(dataset) == 0:
                raise DatasetError(f"{dataset.annotations}: expected an object that lies in a patch, got none")
        self.dataset, self.settings = dataset, settings
        self._epoch, self._order = -1, torch.zeros(0, dtype=torch.int64, device="cpu")

    def __getitem__(self, place: int) -> Drawn:
        epoch, first = divmod(place, len(self.dataset))
        if epoch != self._epoch:
            generator = generator_of(self.settings.seed, ORDER, epoch)
            self._epoch, self._order = epoch, self.dataset.shuffled(generator)
        unreadable: dict[int, str] = {}
        for step in range(len(self.dataset)):
            index = int(self._order[(first + step) % len(self.dataset)])
            try:
                image, target, remarks = self.dataset.read(index)
            except DatasetError as error:
                unreadable[index] = str(error).removeprefix(f"{self.dataset.path(index)}: ")
                continue
            return Drawn(self._mirrored(image, target, place), index, remarks, unreadable)
        return Drawn(None, 0, [], unreadable)

    def _mirrored(self, image: Tensor, target: dict[str, Any], place: int) -> Example:
        """Mirror an image horizontally, vertically, diagonally or not at all, as one random number decides."""
        settings = self.settings
        draw = float(torch.rand((), generator=generator_of(settings.seed, MIRROR, place), device="cpu"))
        horizontally = draw < settings.flip
        vertically = not horizontally and draw < settings.flip + settings.vertical_flip
        diagonally = not (horizontally or vertically) and draw < settings.flips
        if horizontally or diagonally:
            image, target = mirrored(image, target)
        if vertically or diagonally:
            image, target = mirrored(image, target, vertically=True)
        return image, target

    def reported(self, drawn: Drawn) -> Example:
        """Return the example, after reporting the problems and remarks about it.

        Raises
        ------
        DatasetError
            If no image can be read, or if the dataset is `strict` and one image cannot be read.
        """
        dataset = self.dataset
        for index, why in drawn.unreadable.items():
            if dataset.strict:
                raise DatasetError(one_line(f"{dataset.path(index)}: {why}"))
            dataset.problems.add(dataset.path(index), why)
        if drawn.example is None:
            images = {dataset.path(index) for index in range(len(dataset))}
            raise DatasetError(f"{dataset.annotations}: none of the {len(images)} images can be read")
        dataset.report(drawn.row, drawn.remarks)
        return drawn.example


def _cut(dataset: CocoDataset, patches: PatchSettings, report: Report | None) -> PatchDataset:
    """Cut the images of a dataset into patches, and report each."""
    with naming_settings_of_patches():
        if report is None:
            return cut_into_patches(dataset, patches)
        total, done = patch_count(dataset, patches), itertools.count(1)
        return cut_into_patches(dataset, patches, progress=lambda: report(Cut(next(done), total)))


def _check_fit(dataset: CocoDataset, detector: DetectorSettings) -> None:
    """Check that a dataset has the boxes and masks that a detector is trained on.

    Raises
    ------
    DatasetError
        If the dataset does not fit the detector.
    """
    rotated = isinstance(dataset, RotatedDataset)
    if detector.has_rotated_boxes and not rotated:
        raise DatasetError(
            f"{dataset.annotations}: expected rotated boxes, which {detector.model} is trained on, got upright boxes; "
            "read it as a RotatedDataset"
        )
    if detector.has_masks and rotated:
        raise DatasetError(
            f"{dataset.annotations}: expected masks, which {detector.model} is trained on, got rotated boxes; read "
            "it as a CocoDataset"
        )


def mirrored(image: Tensor, target: dict[str, Any], *, vertically: bool = False) -> Example:
    """Mirror an image and its objects left to right, or top to bottom with `vertically`."""
    size, axis = (image.shape[-2], image.shape[-1]), -2 if vertically else -1
    moved = {
        kind.key: kind.mirror(target[kind.key], size, vertically=vertically) for kind in KINDS if kind.key in target
    }
    if "masks" in target:
        moved["masks"] = target["masks"].flip(axis)
    return image.flip(axis), {**target, **moved}


def places_of(iteration: int, batch_size: int) -> list[int]:
    """Return the stream positions of the images of a batch that this process handles. Iterations count from 0.

    Raises
    ------
    ValueError
        If a process would have no image.
    """
    if batch_size < process_count():
        raise ValueError(f"batch_size: expected at least {process_count()}, one per process, got {batch_size}")
    first = iteration * batch_size
    return list(range(first + process_rank(), first + batch_size, process_count()))


def batches(stream: Stream, first: int, workers: int) -> Iterator[list[Example]]:
    """This process's share of every batch from iteration `first` on, loaded by worker processes if there are any."""
    settings = stream.settings
    order = (places_of(iteration, settings.batch_size) for iteration in range(first, settings.iterations))
    loader = DataLoader(
        stream,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_as_they_are,
        worker_init_fn=_leave_signals,
        generator=torch.Generator(),  # so that it does not draw from torch's default generator
    )
    with torch.device("cpu"):  # the loader draws a number from the generator on torch's default device
        loaded = iter(loader)
    return ([stream.reported(drawn) for drawn in batch] for batch in loaded)


def _leave_signals(worker: int) -> None:
    """Ignore Ctrl-C and the first SIGTERM in a worker, which are sent to every process."""
    del worker
    leave_signals_to_parent()


def _as_they_are(drawn: Sequence[Drawn]) -> list[Drawn]:
    return list(drawn)
