"""A job computes the features of the boxes of many images and writes them to a folder. It can be resumed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol, get_args

from .. import _validate, build_info
from .._extras import require
from .._version import __version__
from .backbone import Backbone, BackboneOptions
from .backbones import make_backbone
from .boxes import BoxSource
from .checks import check_part, check_paths, check_sizes, check_text
from .engine import MOST_BYTES, Listener, Report, Work, in_gigabytes, run_shards
from .locks import locked, remove_left_behind
from .manifest import join_folder, read_fingerprint
from .manifest_checks import VERSION
from .pooling import Pooling, check_levels, check_rule_and_dtype, find_levels
from .records import Origin
from .shard_reading import ShardReader, open_shard
from .shards import SHARD_BYTES, SHARD_IMAGES, Shard, cut_shards
from .writing import PACKAGES, Format


@dataclass(frozen=True)
class JobSettings:
    """The settings of a job, besides its images, its boxes and the options of its backbone.

    Invalid values raise ValueError or TypeError. Whether the backbone has the levels is checked by :func:`prepare`.
    """

    backbone: str = "efficientnet-lite0"
    """The name of the backbone; see :func:`make_backbone`."""
    sizes: tuple[tuple[int, int], ...] = ((7, 7),)
    """The rows and columns of bins. Each pair gives a column of features, and (1, 1) one of vectors."""
    rule: str = "exact"
    """How boxes are pooled: ``exact``, ``align`` (2 x 2 points per bin), ``align-adaptive``, ``align-unshifted``,
    ``max``, or ``pool`` for RoIPool."""
    levels: str = "default"
    """The levels to pool from: ``last``, ``all``, ``by-size`` for one level per box, chosen by its size, strides such
    as ``16`` or ``8,16``, or ``default`` for those of the backbone. Channels of several levels are concatenated."""
    dtype: str = "float32"
    """The type of the written features: ``float32`` or ``float16``."""
    batch_size: int = 8
    """The largest number of images in a batch of the backbone."""
    file_format: Format = "parquet"
    """The format of the shards: ``parquet``, ``safetensors`` or ``npz``."""
    shard_bytes: int = SHARD_BYTES
    """The largest size of the features in a shard in bytes. The features of a single image may be larger. The default
    is 64 MiB."""
    shard_images: int = SHARD_IMAGES
    """The largest number of images in a shard. The default is 1000."""

    def __post_init__(self) -> None:
        for name in ("backbone", "levels"):
            check_text(getattr(self, name), name)
        check_rule_and_dtype(self.rule, self.dtype)
        check_levels(self.levels)
        _validate.check_choice(self.file_format, "file_format", get_args(Format))
        counts = {name: getattr(self, name) for name in ("batch_size", "shard_bytes", "shard_images")}
        counts = {name: _validate.check_int(count, name, 1) for name, count in counts.items()}
        _validate.set_checked(self, sizes=check_sizes(self.sizes), **counts)


@dataclass(frozen=True)
class Job:
    """A job that is ready to run; see :func:`prepare`."""

    work: Work
    shards: list[Shard]
    out: Path
    shapes: Mapping[str, tuple[int, ...]]
    fingerprint: dict[str, Any]
    has_records: bool = True
    """Whether every shard has a record. In folders begun by earlier versions, some have none."""

    def part(self, part: tuple[int, int]) -> list[Shard]:
        """Return every `count`-th shard from the `number`-th, for `part` = (number, count)."""
        number, count = check_part(part)
        return self.shards[number - 1 :: count]

    def missing(self, shards: Sequence[Shard] | None = None, *, retry: bool = False) -> list[Shard]:
        """Return those of some shards that are not written, and with `retry`, also those in which an image failed.

        By default, of all shards.

        Raises
        ------
        FileError
            If a shard is damaged, or if it is the shard of another job, or another shard.
        """
        return [shard for shard in (self.shards if shards is None else shards) if not self._is_done(shard, retry)]

    def written(self, shards: Sequence[Shard] | None = None) -> list[Shard]:
        """Return those of some shards that are written, by default of all. They are not read."""
        return [shard for shard in (self.shards if shards is None else shards) if (self.out / shard.file).exists()]

    def earlier_errors(self, shards: Sequence[Shard] | None = None) -> dict[str, str]:
        """Return the images that failed in the written shards, with their errors."""
        found: dict[str, str] = {}
        for shard in self.written(shards):
            with self._opened(shard) as reader:
                found.update(reader.errors())
        return found

    def partly_failed(self, shards: Sequence[Shard] | None = None) -> set[str]:
        """Return the images of :meth:`earlier_errors` that have features of some of their boxes."""
        found: set[str] = set()
        for shard in self.written(shards):
            with self._opened(shard) as reader:
                found |= reader.partly_failed()
        return found

    def _is_done(self, shard: Shard, retry: bool) -> bool:
        if not (self.out / shard.file).exists():
            return False
        with self._opened(shard) as reader:
            return not (retry and reader.errors())

    def _opened(self, shard: Shard) -> AbstractContextManager[ShardReader]:
        origin = Origin(self.fingerprint, shard.number)
        return open_shard(self.out / shard.file, origin, required=self.has_records)


class Engine(Protocol):
    """Processes the shards of a job, in this process or on other machines."""

    def run_shards(self, job: Job, shards: Sequence[Shard], report: Report, listener: Listener) -> None:
        """Process and write all of these shards."""


@dataclass(frozen=True)
class LocalEngine:
    """Processes shards in this process, one after the other."""

    readers: int = 1

    def run_shards(self, job: Job, shards: Sequence[Shard], report: Report, listener: Listener) -> None:
        run_shards(job.work, shards, job.out, readers=self.readers, report=report, listener=listener)


class Loaded(NamedTuple):
    """A backbone, and the software on its machine that affects the values."""

    backbone: Backbone
    software: dict[str, Any]


def load(settings: JobSettings, options: BackboneOptions) -> Loaded:
    """Load the backbone of a job on this machine."""
    packages = ["numpy", "pillow", *PACKAGES[settings.file_format]]
    software = {
        "roialign": __version__,
        "machine": {"cpu": str(build_info()["isa"]).removesuffix("_bf16")},  # both kinds of AVX-512 give the same bits
        "packages": {name: version(name) for name in packages},
    }
    return Loaded(make_backbone(settings.backbone, options), software)


def prepare(
    images: Sequence[str | Path],
    boxes: BoxSource,
    out: str | Path,
    settings: JobSettings,
    options: BackboneOptions,
    *,
    load: Callable[[JobSettings, BackboneOptions], Loaded] = load,
) -> Job:
    """Prepare a job: load the backbone, divide the images into shards, and write or check the manifest of the folder.

    Parameters
    ----------
    images : sequence of str or Path
        The images in the order of the result.
    boxes : BoxSource
        The boxes of every image.
    out : str or Path
        The folder of the result.
    settings : JobSettings
        The settings of the job.
    options : BackboneOptions
        The options of the backbone.
    load : function, optional
        Loads the backbone. By default, it is loaded in this process. :meth:`RayEngine.load` loads it on a worker.

    Returns
    -------
    Job
        To be run by :func:`run`.

    Raises
    ------
    BackboneError
        If the backbone cannot be created, or if detections are requested and it does not belong to a detector.
    ValueError
        If a setting or an option is invalid.
    TypeError
        If an argument is of the wrong type.
    OtherJobError
        If the folder belongs to another job.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from roialign.features import BackboneOptions, GridBoxes, JobSettings, prepare
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (64, 48), "red").save(folder / "red.png")
    >>> settings, options = JobSettings("pixels", sizes=((1, 1), (3, 2))), BackboneOptions(image_size=48)
    >>> job = prepare([folder / "red.png"], GridBoxes(2, 2), folder / "features", settings, options)
    >>> job.shapes
    {'vector': (3,), 'features': (3, 3, 2)}
    >>> [shard.file for shard in job.missing()]
    ['features-00000-of-00001.parquet']
    """
    paths, out = check_paths(images), _validate.check_path(out, "out")
    _validate.check_instance(boxes, "boxes", BoxSource, "GridBoxes(3, 4)")
    _validate.check_instance(settings, "settings", JobSettings, 'JobSettings("pixels")')
    _validate.check_instance(options, "options", BackboneOptions, "BackboneOptions(image_size=320)")
    require("features", *PACKAGES[settings.file_format])
    backbone, software = load(settings, options)
    boxes = boxes.of_backbone(backbone)
    levels, by_size = find_levels(settings.levels, backbone)
    pooling = Pooling(settings.sizes, settings.rule, levels, by_size, settings.dtype)
    pooling.check()
    shapes = pooling.columns(backbone)
    row_bytes = pooling.row_bytes(backbone)
    if row_bytes > MOST_BYTES:
        most, got = in_gigabytes(MOST_BYTES), in_gigabytes(row_bytes)
        raise ValueError(f"output-size: expected features of at most {most} per image, got {got} for a single box")
    shards = cut_shards(
        paths,
        boxes.count,
        row_bytes,
        settings.file_format,
        shard_bytes=settings.shard_bytes,
        shard_images=settings.shard_images,
    )
    fingerprint = _fingerprint(paths, boxes, backbone, pooling, settings, options, software)
    made_with = {"name": settings.backbone, "options": asdict(options)}
    manifest = join_folder(out, fingerprint, made_with, shapes, shards)
    work = Work(backbone, boxes, pooling, settings.batch_size, settings.file_format, fingerprint)
    return Job(work, shards, out, shapes, fingerprint, manifest["version"] == VERSION)


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
    """Process the missing shards of a job.

    Parameters
    ----------
    job : Job
        The job from :func:`prepare`.
    readers : int, default 1
        The number of processes that read images. 0 reads them in this process. Every process first imports the script
        that calls this function, so a script must call it below ``if __name__ == "__main__":``.
    engine : Engine, optional
        Processes the shards. By default, they are processed in this process, with `readers`.
    part : (number, count), default (1, 1)
        Process only every `count`-th shard, from the `number`-th, so that machines with a common folder share a job.
        All runs at the same time need the same `count`.
    retry : bool, default False
        Whether to process shards again in which an image failed.
    listener : Listener, optional
        Called with progress and errors.
    started : function, optional
        Called with the shards to process.

    Returns
    -------
    Report
        The counts and times of this run. Earlier runs are not included.

    Raises
    ------
    ValueError
        If `part` or `readers` is out of range.
    TypeError
        If an argument is of the wrong type.
    RuntimeError
        If the processes that read images cannot start, as in a script that calls this without
        ``if __name__ == "__main__":``.
    OtherJobError
        If another run is processing the same part, or a part with another `count`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from roialign.features import BackboneOptions, GridBoxes, JobSettings, prepare, run
    >>> if __name__ == "__main__":  # so that the processes that read images import a script without running it again
    ...     folder = Path(tempfile.mkdtemp())
    ...     Image.new("RGB", (64, 48), "red").save(folder / "red.png")
    ...     settings, options = JobSettings("pixels", sizes=((1, 1),)), BackboneOptions(image_size=48)
    ...     job = prepare([folder / "red.png"], GridBoxes(2, 2), folder / "features", settings, options)
    ...     report = run(job, readers=1)
    ...     print(report.images, report.boxes, report.errors, job.missing())
    1 4 {} []
    """
    _validate.check_instance(job, "job", Job, "that of prepare")
    listener = Listener() if listener is None else listener
    readers = _validate.check_int(readers, "readers", 0)
    engine = LocalEngine(readers) if engine is None else engine
    _validate.check_instance(listener, "listener", Listener, "Listener()")
    if not hasattr(engine, "run_shards"):
        raise TypeError(f"engine: expected an engine, such as RayEngine(), got {engine!r}")
    own = job.part(part)
    report = Report()
    start = time.perf_counter()
    with locked(job.out, part):
        remove_left_behind(job.out, [shard.file for shard in own])
        missing = job.missing(own, retry=retry)
        started(missing)
        if missing:
            engine.run_shards(job, missing, report, listener)
    report.elapsed = time.perf_counter() - start
    return report


def threads_of(out: Path) -> int | None:
    """Return the number of threads with which the job of a folder was started; None if it has not been started."""
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
    """Return everything that determines the bytes of the result, except the contents of the images, as JSON has it."""
    digest = hashlib.sha256("\n".join(image.as_posix() for image in images).encode(errors="surrogateescape"))
    fingerprint = {
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
    found: dict[str, Any] = json.loads(json.dumps(fingerprint))  # JSON has lists instead of tuples
    return found
