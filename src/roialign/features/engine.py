"""Processes shards: reads images, forms batches, runs the backbone, pools, and writes. All engines use it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import _validate
from .._text import counted
from .._typing import Array
from .._warnings import RoIWarning
from ..files.boxes import Box
from ..files.doubts import Doubts
from ..files.problems import Remark
from .backbone import Backbone, BackboneError, Map, check_map_sizes
from .boxes import BoxSource, DetectedBoxes, GridBoxes
from .image_readers import Readers, Wanted
from .images import ReadImage
from .pooling import Pooling
from .records import Origin
from .rows import ImageRows
from .shards import Shard
from .writing import Format, columns_of, write_shard

#: The largest size of the features of an image in bytes. They are in memory at once, more than once.
MOST_BYTES = 4_000_000_000
#: The sides of the blank image with which a backbone is tried after it has failed, before resizing.
BLANK_SIDE = 224


@dataclass(frozen=True)
class Work:
    """How to process every image."""

    backbone: Backbone
    boxes: BoxSource
    pooling: Pooling
    batch_size: int
    file_format: Format
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    """The fingerprint of the job, for the record of every shard."""


@dataclass
class Report:
    """The counts, errors and times of a run."""

    images: int = 0
    boxes: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    """The errors by image."""
    partly_failed: int = 0
    """The number of images in `errors` that have features of some of their boxes."""
    seconds: dict[str, float] = field(default_factory=dict)
    """The times of waiting for images, the backbone, pooling and writing, summed over all workers."""
    doubts: Doubts = field(default_factory=Doubts)
    """The suspicious boxes."""
    workers: int = 1
    """The largest number of workers at the same time."""
    elapsed: float = 0.0
    """The elapsed time of the whole run in seconds."""

    def add(self, other: Report) -> None:
        """Add the report of another worker."""
        self.images += other.images
        self.boxes += other.boxes
        self.errors.update(other.errors)
        self.partly_failed += other.partly_failed
        for what, seconds in other.seconds.items():
            self.seconds[what] = self.seconds.get(what, 0.0) + seconds
        self.doubts.add(other.doubts)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start


class Listener:
    """Receives progress and errors. The methods of this class do nothing."""

    strict: bool = False
    """Whether :meth:`failed` raises an exception."""

    def done(self, count: int) -> None:
        """A number of images is done. It is negative if images have to be processed again."""

    def failed(self, image: Path, why: str) -> None:
        """An image failed and will be written as a row with this error. If this raises, its shard is not written."""

    def lost(self, file: str, why: str) -> None:
        """The worker of a shard was lost or failed, and the shard is processed again."""

    def remark(self, image: Path, remark: Remark) -> None:
        """There is a remark about an image."""


def run_shards(
    work: Work,
    shards: Sequence[Shard],
    out: str | Path,
    *,
    readers: int | Readers,
    report: Report,
    listener: Listener,
    finished: Callable[[Shard], None] = lambda _: None,
) -> None:
    """Process shards one after the other, and write their files into `out`.

    `readers` is a number of processes, which are started and stopped by this call, or running readers.

    Raises
    ------
    BackboneError
        If the backbone fails on every image of a shard, and on a blank image too. This shard is not written.
    ValueError, TypeError
        If an argument cannot be used.
    """
    if not isinstance(readers, Readers):
        readers = _validate.check_int(readers, "readers", 0)
    if isinstance(shards, Shard):
        raise TypeError(f"shards: expected a sequence of shards, got one: {shards.file}")
    _validate.check_instance(report, "report", Report, "Report()")
    _validate.check_instance(listener, "listener", Listener, "Listener()")
    out = _validate.check_path(out, "out")
    wanted = (Wanted(image, work.boxes.annotated(image)) for shard in shards for image in shard.images)
    with ExitStack() as stack:
        if isinstance(readers, int):
            readers = stack.enter_context(Readers(readers, work.backbone.image_size))
        stream = readers.read(wanted)
        for shard in shards:
            batches = _Batches(work, report)
            for image in shard.images:
                with report.timed("waiting for images"):
                    answer = next(stream)
                batches.add(image, answer)
                if isinstance(answer, ReadImage) and answer.remark is not None:
                    listener.remark(image, answer.remark)
                listener.done(1)
            rows = batches.finish()
            for one in rows:
                if one.error is not None:
                    report.errors[one.image.as_posix()] = one.error
                    listener.failed(one.image, one.error)
            with report.timed("writing"):
                shapes = work.pooling.columns(work.backbone)
                columns = columns_of(rows, shapes, work.pooling.dtype, scored=work.boxes.has_scores)
                origin = Origin(work.fingerprint, shard.number)
                write_shard(out / shard.file, columns, work.file_format, origin)
            for one in rows:
                report.images += 1
                report.boxes += len(one.boxes)
                report.partly_failed += one.error is not None and len(one.boxes) > 0
            finished(shard)


def pool_image(work: Work, image: Path, read: ReadImage) -> ImageRows:
    """Compute the features of the boxes of one image, without writing them.

    Raises
    ------
    BackboneError
        If the backbone fails, or if a feature is not finite.
    """
    batches = _Batches(work, Report())
    batches.add(image, read)
    (rows,) = batches.finish()
    if rows.error is not None:
        raise BackboneError(f"{image}: {rows.error}")
    return rows


@dataclass
class _Waiting:
    """An image that waits for others of its size to fill a batch."""

    rows: ImageRows
    pixels: Array


class _Batches:
    """Groups the images of one shard into batches of equal size.

    Batches depend only on the order and the sizes of the images, so that they are the same in every run.
    """

    def __init__(self, work: Work, report: Report) -> None:
        self._work, self._report = work, report
        self._rows: list[ImageRows] = []
        self._waiting: dict[tuple[int, ...], list[_Waiting]] = {}
        self._failure: Exception | None = None

    def add(self, image: Path, answer: ReadImage | str) -> None:
        rows = ImageRows(image)
        self._rows.append(rows)
        if isinstance(answer, str):
            rows.error = answer
            return
        rows.height, rows.width = answer.height, answer.width
        rows.boxes = self._work.boxes.of(image, answer.height, answer.width)
        size = len(rows.boxes) * self._work.pooling.row_bytes(self._work.backbone)
        if size > MOST_BYTES:
            needed = f"features of {counted(len(rows.boxes), 'box', 'boxes')} need {in_gigabytes(size)}"
            rows.error = f"{needed}: expected at most {in_gigabytes(MOST_BYTES)} per image"
            rows.boxes = ()
            return
        if self._work.boxes.can_be_mistaken:
            self._report.doubts.look(rows.boxes, answer.width, answer.height)
        self._report.doubts.turnings.look(image, answer.turning)
        alike = self._waiting.setdefault(answer.pixels.shape, [])
        alike.append(_Waiting(rows, answer.pixels))
        if len(alike) == self._work.batch_size:
            self._run(self._waiting.pop(answer.pixels.shape))

    def finish(self) -> list[ImageRows]:
        """Process the remaining images, and return the rows of all images in order.

        Raises
        ------
        BackboneError
            If the backbone failed on every image that it was given, and does not work at all.
        """
        for alike in self._waiting.values():
            self._run(alike)
        self._waiting = {}
        if self._failure is not None and not any(rows.features for rows in self._rows):
            self._check_backbone(self._failure)
        return self._rows

    def _check_backbone(self, failure: Exception) -> None:
        """Check that the backbone still works. If it does, the images are at fault, and the job goes on.

        The image is the same in every run, so that the shard does not depend on those before it.
        """
        try:
            self._pool([_blank_image(self._work.backbone)])
        except Exception:
            got = "an error for every image"
            raise BackboneError.of("features of these images", got, failure) from failure

    def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            self._pool(batch)
        except Exception as error:  # an error in one image must not affect the others
            if len(batch) > 1:
                for one in batch:
                    self._run([one])
                return
            self._failure = error
            batch[0].rows.error = f"the backbone failed: {str(error) or type(error).__name__}"
            batch[0].rows.boxes = ()

    def _maps(self, batch: Sequence[_Waiting]) -> list[Map]:
        """Compute the maps of a batch, and if boxes are detections, the boxes."""
        work, images = self._work, np.stack([one.pixels for one in batch])
        if not isinstance(work.boxes, DetectedBoxes):
            return work.backbone.maps(images, work.pooling.levels)
        maps, found = work.backbone.detect(images, work.pooling.levels, work.boxes.score_threshold)
        for one, detections in zip(batch, found, strict=True):
            x, y = _scale(one)
            one.rows.boxes = work.boxes.boxes(one.rows.image, detections, (1 / x, 1 / y))
        return maps

    def _pool(self, batch: Sequence[_Waiting]) -> None:
        work = self._work
        with self._report.timed("backbone"):
            maps = self._maps(batch)
            _wait_for(maps[0])
        strides = [work.backbone.strides[level] for level in work.pooling.levels]
        height, width = batch[0].pixels.shape[:2]
        check_map_sizes(maps, strides, (height, width), work.backbone.strides_are_stated)
        with self._report.timed("pooling"), work.backbone.for_pooling(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RoIWarning)  # Doubts reports them once for all images
            pooled = work.pooling.pool(maps, strides, np.concatenate(list(map(_rois, range(len(batch)), batch))))
            first = 0
            for one in batch:
                last = first + len(one.rows.boxes)
                one.rows.keep_finite([values[first:last] for values in pooled])
                first = last


def _blank_image(backbone: Backbone) -> _Waiting:
    """Return a black image with one box, resized for a backbone."""
    name, height, width = Path("blank"), BLANK_SIDE, BLANK_SIDE
    rows = ImageRows(name, height, width, GridBoxes(1, 1).of(name, height, width))
    return _Waiting(rows, np.zeros((*backbone.image_size.of(height, width), 3), np.uint8))


def in_gigabytes(size: int) -> str:
    """Return a number of bytes as text, such as "4.3 GB"."""
    return f"{size / 1e9:.3g} GB"


def _scale(one: _Waiting) -> tuple[float, float]:
    """Return the pixels of the resized image per pixel of the image, along x and y."""
    height, width = one.pixels.shape[:2]
    return width / one.rows.width, height / one.rows.height


def _rois(index: int, one: _Waiting) -> Array:
    """Return the boxes ``[K, 5]`` in pixels of the resized image."""
    corners = _corners(one.rows.boxes)
    return np.column_stack([np.full(len(corners), index, dtype=np.float64), corners * np.array(_scale(one) * 2)])


def _corners(boxes: Sequence[Box]) -> Array:
    return np.array([box.corners for box in boxes], dtype=np.float64).reshape(-1, 4)


def _wait_for(features: object) -> None:
    """Wait until the GPU is done, so that its time is not counted as pooling."""
    if getattr(features, "is_cuda", False):
        import torch

        torch.cuda.synchronize()
