"""A job: features of the boxes of a set of images, in a folder; started again, it goes on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import build_info
from .._extras import require
from .._version import __version__
from .backbone import Backbone, BackboneOptions
from .backbones import make_backbone
from .boxes import BoxSource
from .engine import Listener, Report, Work, run_shards
from .manifest import join_folder, locked, read_fingerprint, remove_unfinished
from .pooling import Pooling, find_levels
from .shards import SHARD_BYTES, SHARD_IMAGES, Shard, cut_shards
from .writing import PACKAGES, Format, read_errors


@dataclass(frozen=True)
class JobSettings:
    """Everything about a job besides its images, its boxes and its backbone's own options."""

    backbone: str = "efficientnet-lite0"
    sizes: tuple[tuple[int, int], ...] = ((7, 7),)
    rule: str = "exact"
    levels: str = "default"
    dtype: str = "float32"
    batch_size: int = 8
    file_format: Format = "parquet"
    shard_bytes: int = SHARD_BYTES
    shard_images: int = SHARD_IMAGES


@dataclass(frozen=True)
class Job:
    """A job that is ready to run: see :func:`prepare`."""

    work: Work
    shards: list[Shard]
    out: Path
    shapes: Mapping[str, tuple[int, ...]]
    fingerprint: dict[str, Any]

    def missing(self, *, retry: bool = False) -> list[Shard]:
        """The shards that are not written; with `retry` those too in which an image failed."""
        return [shard for shard in self.shards if not self._is_done(shard, retry)]

    def earlier_errors(self) -> dict[str, str]:
        """Of the shards that are written: the images that failed, and why."""
        written = [self.out / shard.file for shard in self.shards if (self.out / shard.file).exists()]
        return dict(pair for path in written for pair in read_errors(path, self.work.file_format))

    def _is_done(self, shard: Shard, retry: bool) -> bool:
        path = self.out / shard.file
        return path.exists() and not (retry and read_errors(path, self.work.file_format))


class Engine(Protocol):
    """Does the shards of a job: in this process, or elsewhere."""

    def run_shards(self, job: Job, shards: Sequence[Shard], report: Report, listener: Listener) -> None:
        """Write all of these shards."""


@dataclass(frozen=True)
class LocalEngine:
    """Does shards in this process, one after the other."""

    readers: int = 1

    def run_shards(self, job: Job, shards: Sequence[Shard], report: Report, listener: Listener) -> None:
        run_shards(job.work, shards, job.out, readers=self.readers, report=report, listener=listener)


class Loaded(NamedTuple):
    """A backbone, and what else decides the values where it runs."""

    backbone: Backbone
    software: dict[str, Any]


def load(settings: JobSettings, options: BackboneOptions) -> Loaded:
    """The backbone of a job on this machine."""
    packages = ["numpy", "pillow", *PACKAGES[settings.file_format]]
    software = {
        "roialign": __version__,
        "machine": {"cpu": build_info()["isa"]},
        "packages": {name: version(name) for name in packages},
    }
    return Loaded(make_backbone(settings.backbone, options), software)


def prepare(
    images: Sequence[Path],
    boxes: BoxSource,
    out: Path,
    settings: JobSettings,
    options: BackboneOptions,
    *,
    load: Callable[[JobSettings, BackboneOptions], Loaded] = load,
) -> Job:
    """Load the backbone, cut the shards, and make the folder this job's, or see that it is.

    Parameters
    ----------
    images : sequence of Path
        In the order in which they are written.
    boxes : BoxSource
        The boxes of every image.
    out : Path
        The folder of the result.
    settings : JobSettings
        What is computed, and how it is written.
    options : BackboneOptions
        Those of the backbone.
    load : function, optional
        Gives the backbone; by default it is loaded here. :meth:`RayEngine.load` loads it on a worker.

    Raises
    ------
    BackboneError, ValueError
        For a backbone that cannot be had, levels that it does not have, or detections of one that is no detector's.
    OtherJobError
        Where the folder belongs to another job.
    """
    require("features", *PACKAGES[settings.file_format])
    backbone, software = load(settings, options)
    boxes = boxes.of_backbone(backbone)
    levels, by_size = find_levels(settings.levels, backbone)
    pooling = Pooling(settings.sizes, settings.rule, levels, by_size, settings.dtype)
    pooling.check()
    shapes = pooling.columns(backbone)
    row_bytes = sum(int(np.prod(shape)) for shape in shapes.values()) * np.dtype(settings.dtype).itemsize
    shards = cut_shards(
        images,
        boxes.count,
        row_bytes,
        settings.file_format,
        shard_bytes=settings.shard_bytes,
        shard_images=settings.shard_images,
    )
    fingerprint = _fingerprint(images, boxes, backbone, pooling, settings, options, software)
    made_with = {"name": settings.backbone, "options": asdict(options)}
    join_folder(out, fingerprint, made_with, shapes, shards)
    work = Work(backbone, boxes, pooling, settings.batch_size, settings.file_format)
    return Job(work, shards, out, shapes, fingerprint)


def run(
    job: Job,
    *,
    readers: int = 1,
    engine: Engine | None = None,
    part: tuple[int, int] = (1, 1),
    retry: bool = False,
    listener: Listener | None = None,
    started: Callable[[Sequence[Shard]], None] = lambda _: None,
) -> Report:
    """Do what is missing of a job.

    Parameters
    ----------
    readers : int, default 1
        Processes that read images ahead; 0 reads them in this one.
    engine : Engine, optional
        Does the shards; by default they are done in this process, with these readers.
    part : (number, count), default (1, 1)
        Only every `count`-th shard, beginning with the `number`-th: several machines that see one folder share a job.
    retry : bool, default False
        Do the shards again in which an image failed.
    listener : Listener, optional
        Is told what happens.
    started : function, optional
        Told which shards are to be done.

    Returns
    -------
    Report
        Of this run: what earlier ones did is not counted.

    Raises
    ------
    OtherJobError
        Where another run does the same part.
    """
    number, count = part
    own = {shard.file for shard in job.shards[number - 1 :: count]}
    report = Report()
    start = time.perf_counter()
    with locked(job.out, "" if count == 1 else f"-{number}-of-{count}"):
        mine = [shard for shard in job.shards if shard.file in own]
        remove_unfinished(job.out, mine)
        missing = [shard for shard in job.missing(retry=retry) if shard.file in own]
        started(missing)
        if missing:
            (engine or LocalEngine(readers)).run_shards(job, missing, report, listener or Listener())
    report.elapsed = time.perf_counter() - start
    return report


def threads_of(out: Path) -> int | None:
    """How many threads the job of a folder was begun with; None where it is not begun."""
    found = read_fingerprint(out)
    threads = None if found is None else found.get("settings", {}).get("threads")
    return threads if isinstance(threads, int) else None


def _fingerprint(
    images: Sequence[Path],
    boxes: BoxSource,
    backbone: Backbone,
    pooling: Pooling,
    settings: JobSettings,
    options: BackboneOptions,
    software: dict[str, Any],
) -> dict[str, Any]:
    """Everything that decides the bytes of the result, but for the contents of the images."""
    digest = hashlib.sha256("\n".join(image.as_posix() for image in images).encode(errors="surrogateescape"))
    return {
        "roialign": software["roialign"],
        "backbone": {
            "kind": settings.backbone.partition(":")[0],
            **backbone.facts(),
            "image_size": asdict(backbone.image_size),
            "normalisation": asdict(backbone.normalisation),
            "tokens": [options.prefix_tokens, options.patch_size],
            "device": options.device.partition(":")[0],
            "precision": options.precision,
            "channels_last": options.channels_last,
        },
        "images": {"count": len(images), "sha256": digest.hexdigest()},
        "boxes": boxes.facts(),
        "pooling": asdict(pooling),
        "settings": {
            "batch_size": settings.batch_size,
            "threads": options.threads,
            "format": settings.file_format,
            "shard_bytes": settings.shard_bytes,
            "shard_images": settings.shard_images,
        },
        "machine": software["machine"],
        "packages": software["packages"],
    }
