"""Which image comes when, and how it is changed: functions of the seed and of the place in the run."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..._text import one_line
from ...files.problems import Remark
from ..coco import CocoDataset, DatasetError
from ..processes import process_count, process_rank
from .randomness import MIRROR, ORDER, generator_of
from .settings import TrainSettings

Example = tuple[Tensor, dict[str, Any]]


class Drawn(NamedTuple):
    """What stands at a place of the stream, and what is to be reported of it."""

    example: Example | None
    """None where no image of the set can be read."""
    row: int
    """Which image of the set it is."""
    remarks: list[Remark]
    unreadable: dict[int, str]
    """The images that should have stood there, and why they do not."""


class Stream(Dataset[Drawn]):
    """The images of a set in an endless order, mirrored now and then: ``stream[p]`` is the p-th that a run sees.

    Concretely, every ``len(dataset)`` places are one epoch, a permutation of the set of its own. In the place of an
    image that cannot be read stands the next one of the epoch that can. What is to be reported is given, not reported:
    a worker process has nobody to tell.
    """

    def __init__(self, dataset: CocoDataset, settings: TrainSettings) -> None:
        if len(dataset) == 0:
            raise DatasetError(f"{dataset.annotations}: expected at least one image, got none")
        if not any(dataset.objects(row) for row in dataset.rows):
            raise DatasetError(f"{dataset.annotations}: expected at least one object in an image, got none")
        self.dataset, self.settings = dataset, settings
        self._epoch, self._order = -1, torch.zeros(0, dtype=torch.int64)

    def __getitem__(self, place: int) -> Drawn:
        epoch, first = divmod(place, len(self.dataset))
        if epoch != self._epoch:
            generator = generator_of(self.settings.seed, ORDER, epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.dataset), generator=generator)
        unreadable: dict[int, str] = {}
        for step in range(len(self.dataset)):
            index = int(self._order[(first + step) % len(self.dataset)])
            try:
                image, target, remarks = self.dataset.read(index)
            except DatasetError as error:
                unreadable[index] = str(error).removeprefix(f"{self.dataset.path(index)}: ")
                continue
            draw = torch.rand((), generator=generator_of(self.settings.seed, MIRROR, place))
            example = mirrored(image, target) if draw < self.settings.flip else (image, target)
            return Drawn(example, index, remarks, unreadable)
        return Drawn(None, 0, [], unreadable)

    def reported(self, drawn: Drawn) -> Example:
        """The example, and what is to be known about it told.

        Raises
        ------
        DatasetError
            Where no image can be read; for a set that is `strict`, where one cannot.
        """
        dataset = self.dataset
        for index, why in drawn.unreadable.items():
            if dataset.strict:
                raise DatasetError(one_line(f"{dataset.path(index)}: {why}"))
            dataset.problems.add(dataset.path(index), why)
        if drawn.example is None:
            raise DatasetError(f"{dataset.annotations}: none of its {len(dataset)} images can be read")
        dataset.report(drawn.row, drawn.remarks)
        return drawn.example


def mirrored(image: Tensor, target: dict[str, Any]) -> Example:
    """An image and its objects with left and right exchanged."""
    left, top, right, bottom = target["boxes"].unbind(1)
    width = image.shape[-1]
    boxes = torch.stack([width - right, top, width - left, bottom], dim=1)
    return image.flip(-1), {**target, "boxes": boxes, "masks": target["masks"].flip(-1)}


def places_of(iteration: int, batch_size: int) -> list[int]:
    """The places in the stream of this process's share of a batch; iterations count from 0.

    Raises
    ------
    ValueError
        Where a process would have none.
    """
    if batch_size < process_count():
        raise ValueError(f"batch_size: expected at least {process_count()}, one per process, got {batch_size}")
    first = iteration * batch_size
    return list(range(first + process_rank(), first + batch_size, process_count()))


def batches(stream: Stream, first: int, workers: int) -> Iterator[list[Example]]:
    """This process's share of every batch, from an iteration on, prepared by worker processes where there are some."""
    settings = stream.settings
    order = [places_of(iteration, settings.batch_size) for iteration in range(first, settings.iterations)]
    loader = DataLoader(
        stream,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_as_they_are,
        worker_init_fn=_leave_interrupts,
        generator=torch.Generator(),  # so that it does not draw from torch's own
    )
    return ([stream.reported(drawn) for drawn in batch] for batch in loader)


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the first of them decides what it means."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_they_are(drawn: Sequence[Drawn]) -> list[Drawn]:
    return list(drawn)
