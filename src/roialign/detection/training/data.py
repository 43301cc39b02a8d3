"""Which image comes when, and how it is changed: functions of the seed and of the place in the run."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..coco import CocoDataset, DatasetError
from ..processes import process_count, process_rank
from .randomness import MIRROR, ORDER, generator_of
from .settings import TrainSettings

Example = tuple[Tensor, dict[str, Any]]


class Stream(Dataset[Example | DatasetError]):
    """The images of a set in an endless order, mirrored now and then: ``stream[p]`` is the p-th that a run sees.

    Concretely, every ``len(dataset)`` places are one epoch, a permutation of the set of its own.
    An image that cannot be read is the error that names it, not raised: a worker process would put its own around it.
    """

    def __init__(self, dataset: CocoDataset, settings: TrainSettings) -> None:
        if len(dataset) == 0:
            raise DatasetError(f"{dataset.annotations}: expected at least one image, got none")
        self.dataset, self.settings = dataset, settings
        self._epoch, self._order = -1, torch.zeros(0, dtype=torch.int64)

    def __getitem__(self, place: int) -> Example | DatasetError:
        epoch, index = divmod(place, len(self.dataset))
        if epoch != self._epoch:
            generator = generator_of(self.settings.seed, ORDER, epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.dataset), generator=generator)
        try:
            image, target = self.dataset[int(self._order[index])]
        except DatasetError as error:
            return error
        draw = torch.rand((), generator=generator_of(self.settings.seed, MIRROR, place))
        return mirrored(image, target) if draw < self.settings.flip else (image, target)


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


def batches(stream: Stream, first: int, workers: int) -> Iterator[list[Example | DatasetError]]:
    """This process's share of every batch, from an iteration on, prepared by worker processes where there are some."""
    settings = stream.settings
    order = [places_of(iteration, settings.batch_size) for iteration in range(first, settings.iterations)]
    return iter(
        DataLoader(
            stream,
            batch_sampler=order,
            num_workers=workers,
            collate_fn=_as_they_are,
            worker_init_fn=_leave_interrupts,
            generator=torch.Generator(),  # so that it does not draw from torch's own
        )
    )


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the first of them decides what it means."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_they_are(examples: Sequence[Example | DatasetError]) -> list[Example | DatasetError]:
    return list(examples)
