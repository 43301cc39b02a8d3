"""Processes shards for the Ray engine. The workers of a cluster run this. Nothing here imports Ray."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from .._typing import Array
from ..files.problems import FileError, Remark
from .backbone import Backbone, BackboneError, BackboneOptions, ImageSize, Map, Normalisation
from .boxes import BoxSource
from .engine import Listener, Report, Work, run_shards
from .image_readers import Readers
from .job import JobSettings, Loaded, load
from .manifest import differences_of
from .shards import Shard


class WorkerError(FileError):
    """A worker cannot take part in a job, or too many workers were lost. The message says where and why."""


class ImageFailed(Exception):  # noqa: N818 - not an error of the program
    """An image failed in a strict run. The arguments are the image and the reason."""


class Described(NamedTuple):
    """The description of a backbone, which the first worker sends to the main process and to the other workers."""

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    image_size: ImageSize
    normalisation: Normalisation
    default_levels: str
    most_detections: int
    facts: dict[str, object]
    software: dict[str, Any]

    @classmethod
    def of(cls, loaded: Loaded) -> Described:
        """Describe a loaded backbone."""
        one = loaded.backbone
        return cls(
            one.strides,
            one.channels,
            one.image_size,
            one.normalisation,
            one.default_levels,
            one.most_detections,
            one.facts(),
            loaded.software,
        )

    def differences(self, other: Described) -> list[str]:
        """Return the differences that affect the values. "there" refers to this description, "here" to the other."""
        there, here = (
            json.loads(json.dumps({"backbone": one.facts, "channels": one.channels, **one.software}))
            for one in (self, other)
        )
        return list(differences_of(there, here))


class RemoteBackbone(Backbone):
    """A backbone that is loaded on the workers only. It cannot compute maps in this process."""

    def __init__(self, described: Described) -> None:
        self.strides, self.channels = described.strides, described.channels
        self.image_size, self.normalisation = described.image_size, described.normalisation
        self.default_levels, self.most_detections = described.default_levels, described.most_detections
        self.described = described

    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        del images, levels
        raise BackboneError.of("one that is loaded in this process", "one that is loaded on the workers")

    def facts(self) -> dict[str, object]:
        return self.described.facts


@dataclass(frozen=True)
class Task:
    """What a worker needs to know about a job, besides its shards."""

    work: Work
    """The work with a :class:`RemoteBackbone`, and without the boxes of a file, which are sent with each shard."""
    out: Path
    token: str
    """The name of a file in `out` that the main process has written."""
    readers: int
    strict: bool


@dataclass
class Done:
    """The report and the remarks of a shard."""

    report: Report
    remarks: list[tuple[Path, Remark]]


@dataclass
class _Progress(Listener):
    """Counts the images that are done, for :meth:`ShardWorker.progress`."""

    file: str
    """The file of the current shard."""
    strict: bool
    count: int = 0
    remarks: list[tuple[Path, Remark]] = field(default_factory=list)

    def done(self, count: int) -> None:
        self.count += count

    def failed(self, image: Path, why: str) -> None:
        if self.strict:
            raise ImageFailed(image, why)

    def remark(self, image: Path, remark: Remark) -> None:
        self.remarks.append((image, remark))


class ShardWorker:
    """Loads a backbone, and processes one shard at a time. Meanwhile, :meth:`progress` may be called.

    Parameters
    ----------
    folder : str
        The working directory of the main process, so that relative paths mean the same on every machine.
    """

    def __init__(self, folder: str) -> None:
        self.host = socket.gethostname()
        try:
            os.chdir(folder)
        except OSError as error:
            raise WorkerError(f"{self._here()}: cannot see {folder}: {error.strerror}; {SHARE}") from error
        self._loaded: Loaded | None = None
        self._task: Task | None = None
        self._readers: Readers | None = None
        self._progress = _Progress("", strict=False)

    def _here(self) -> str:
        return f"worker on {self.host}"

    def describe(self, settings: JobSettings, options: BackboneOptions) -> Described:
        """Load the backbone, and describe it."""
        if self._loaded is None:
            self._loaded = load(settings, options)
        return Described.of(self._loaded)

    def join(self, settings: JobSettings, options: BackboneOptions, task: Task) -> str:
        """Load the backbone if necessary, check that this machine is suitable for the job, and return its name.

        Raises
        ------
        WorkerError
            If this machine does not see the same result folder, or would compute other values.
        """
        assert isinstance(task.work.backbone, RemoteBackbone)
        if not (task.out / task.token).exists():
            raise WorkerError(f"{self._here()}: {task.out} is not the folder that the main process writes to; {SHARE}")
        try:
            own = self.describe(settings, options)
        except Exception as error:  # loading a backbone raises many kinds of errors
            raise WorkerError(f"{self._here()}: {error or type(error).__name__}") from error
        differences = task.work.backbone.described.differences(own)
        if differences:
            different = "; ".join(differences)
            raise WorkerError(f"{self._here()}: would compute other values than the first worker: {different}")
        self._task = replace(task, work=replace(task.work, backbone=self._backbone()))
        return self.host

    def _backbone(self) -> Backbone:
        assert self._loaded is not None
        return self._loaded.backbone

    def run_shard(self, shard: Shard, boxes: BoxSource, seen: Sequence[Path]) -> Done:
        """Process a shard, and write its file.

        Parameters
        ----------
        shard : Shard
            The shard.
        boxes : BoxSource
            The boxes of the images of the shard.
        seen : sequence of Path
            Images that exist for the main process.

        Raises
        ------
        WorkerError
            If one of `seen` does not exist here. Otherwise, all images would become rows with an error.
        ImageFailed
            In a strict run, for the first image that fails. The shard is not written.
        """
        task = self._task
        assert task is not None
        for image in seen:
            if not image.exists():
                raise WorkerError(f"{self._here()}: cannot see {image}, which the main process sees; {SHARE}")
        self._progress = progress = _Progress(shard.file, task.strict)
        report = Report()
        if self._readers is None:
            self._readers = Readers(task.readers, self._backbone().image_size)
        try:
            work = replace(task.work, boxes=boxes)
            run_shards(work, [shard], task.out, readers=self._readers, report=report, listener=progress)
        except BaseException:
            self.close()  # otherwise, pending results would be mistaken for results of the next shard
            raise
        return Done(report, progress.remarks)

    def progress(self, seconds: float) -> tuple[str, int]:
        """Wait, then return the file of the current shard and the number of its images that are done."""
        time.sleep(seconds)
        return self._progress.file, self._progress.count

    def close(self) -> None:
        """Stop the reader processes."""
        if self._readers is not None:
            self._readers.__exit__(None, None, None)
            self._readers = None


#: The hint if machines do not see the same files.
SHARE = "images and results must be in folders that all machines share under the same path"
