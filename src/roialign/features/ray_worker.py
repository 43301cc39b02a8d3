"""Does shards for the Ray engine: what every worker of a cluster runs. Nothing here imports Ray."""

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
from .job import JobSettings, Loaded, load
from .manifest import differences_of
from .readers import Readers
from .shards import Shard


class WorkerError(FileError):
    """A worker cannot take part in a job, or too many of them were lost; the message says where and why."""


class ImageFailed(Exception):  # noqa: N818 - not an error of the program
    """An image failed in a run that may not leave any out; the arguments are the image and the reason."""


class Described(NamedTuple):
    """Everything about a backbone but its maps, as one worker tells it to the others and to the main process."""

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
        """The description of a backbone that is loaded."""
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
        """What decides the values and is not the same in the other, "there" being this one."""
        there, here = (
            json.loads(json.dumps({"backbone": one.facts, "channels": one.channels, **one.software}))
            for one in (self, other)
        )
        return list(differences_of(there, here))


class RemoteBackbone(Backbone):
    """A backbone that is loaded on the workers only: it can be described, and gives no maps here."""

    def __init__(self, described: Described) -> None:
        self.strides, self.channels = described.strides, described.channels
        self.image_size, self.normalisation = described.image_size, described.normalisation
        self.default_levels, self.most_detections = described.default_levels, described.most_detections
        self.described = described

    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        del images, levels
        raise BackboneError("the backbone is loaded on the workers, not in this process")

    def facts(self) -> dict[str, object]:
        return self.described.facts


@dataclass(frozen=True)
class Task:
    """What a worker has to know about a job, besides its shards."""

    work: Work
    """With a :class:`RemoteBackbone`, and without boxes of a file, which come with each shard."""
    out: Path
    token: str
    """The name of a file in `out` that the main process has just written."""
    readers: int
    strict: bool


@dataclass
class Done:
    """What became of a shard."""

    report: Report
    remarks: list[tuple[Path, Remark]]


@dataclass
class _Heard(Listener):
    """Counts what is done, for whoever asks in the meantime."""

    file: str
    """The shard in work."""
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
    """Holds a backbone, and does one shard at a time. While it works, :meth:`progress` may be called.

    Parameters
    ----------
    folder : str
        The folder in which the main process runs: relative paths mean the same on every machine.
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
        self._heard = _Heard("", strict=False)

    def _here(self) -> str:
        return f"worker on {self.host}"

    def describe(self, settings: JobSettings, options: BackboneOptions) -> Described:
        """Load the backbone, and say what it is."""
        if self._loaded is None:
            self._loaded = load(settings, options)
        return Described.of(self._loaded)

    def join(self, settings: JobSettings, options: BackboneOptions, task: Task) -> str:
        """Load the backbone if it is not loaded yet, and see that this machine fits the job; return its name.

        Raises
        ------
        WorkerError
            Where the folder of the result is not the same here, or the values would not be the same.
        """
        assert isinstance(task.work.backbone, RemoteBackbone)
        if not (task.out / task.token).exists():
            raise WorkerError(f"{self._here()}: {task.out} is not the folder that the main process writes to; {SHARE}")
        try:
            own = self.describe(settings, options)
        except Exception as error:
            raise WorkerError(f"{self._here()}: {error or type(error).__name__}") from error
        differences = task.work.backbone.described.differences(own)
        if differences:
            different = "; ".join(differences)
            raise WorkerError(f"{self._here()}: would not give the values of the others: {different}")
        self._task = replace(task, work=replace(task.work, backbone=self._backbone()))
        return self.host

    def _backbone(self) -> Backbone:
        assert self._loaded is not None
        return self._loaded.backbone

    def run_shard(self, shard: Shard, boxes: BoxSource, seen: Sequence[Path]) -> Done:
        """Do a shard and write its file.

        Parameters
        ----------
        boxes : BoxSource
            Those of the images of the shard.
        seen : sequence of Path
            Images that the main process sees.

        Raises
        ------
        WorkerError
            Where one of `seen` is not here: else all images of this machine would become rows with an error.
        ImageFailed
            For the first image that fails, where none may; nothing is written.
        """
        task = self._task
        assert task is not None
        for image in seen:
            if not image.exists():
                raise WorkerError(f"{self._here()}: cannot see {image}, which the main process sees; {SHARE}")
        self._heard = heard = _Heard(shard.file, task.strict)
        report = Report()
        if self._readers is None:
            self._readers = Readers(task.readers, self._backbone().image_size)
        try:
            work = replace(task.work, boxes=boxes)
            run_shards(work, [shard], task.out, readers=self._readers, report=report, listener=heard)
        except BaseException:
            self.close()  # their answers to what was asked would be taken for answers to the next shard
            raise
        return Done(report, heard.remarks)

    def progress(self, seconds: float) -> tuple[str, int]:
        """After so many seconds: the shard in work, and how many of its images are done."""
        time.sleep(seconds)
        return self._heard.file, self._heard.count

    def close(self) -> None:
        """End the processes that read ahead."""
        if self._readers is not None:
            self._readers.__exit__(None, None, None)
            self._readers = None


#: What to do where machines do not see the same files.
SHARE = "images and result must be in folders that all machines share under one name"
