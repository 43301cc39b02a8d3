"""The Ray engine: the shards of a job on the machines of a cluster, each done by a worker that holds the backbone.

A worker that is lost takes nothing with it: its shard is done again by another. What is done is known by the files of
the shards alone, as on one machine; Ray stores nothing.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._extras import require
from .._text import counted, cut
from .backbone import BackboneOptions
from .engine import Listener, Report
from .job import Job, JobSettings, Loaded
from .manifest import MANIFEST, remove_unfinished
from .ray_worker import Described, Done, ImageFailed, RemoteBackbone, ShardWorker, Task, WorkerError
from .shards import Shard

#: How often a worker says how far it is.
SECONDS_PER_PROGRESS = 1.0
#: So long an address may take to answer.
SECONDS_TO_CONNECT = 10.0
#: So long the cluster may take for its first worker, which may have to wait for a machine.
SECONDS_TO_START = 600.0
#: So many workers in a row may be lost before they are ready.
MOST_FAILED_STARTS = 3
#: So many letters of Ray's own messages are shown.
MOST_LETTERS = 400
#: The address of a Ray of one's own on this machine.
LOCAL = "local"


class RayEngine:
    """A cluster of Ray, or a Ray on this machine, as a context manager.

    Parameters
    ----------
    address : str, optional
        Of the cluster: ``host:port``, ``auto``, or ``local`` for a Ray on this machine that ends with the engine. By
        default what Ray finds: the variable RAY_ADDRESS, or the cluster of which this machine is a part; if there is
        none it is ``local``.
    workers : int, optional
        How many work at the same time; by default as many as the cluster has room for: one for each GPU, or for as
        many CPUs as each has threads.
    readers : int, optional
        Processes of each worker that read images ahead; by default one for every two of its threads.
    retries : int, default 3
        How often a shard is done again after its worker was lost.

    Raises
    ------
    WorkerError
        Where there is no such cluster, or where none of its machines can work; if shards lose their workers too often.
    ModuleNotFoundError
        Where Ray is not installed.

    Examples
    --------
    >>> from roialign.features import JobSettings, RayEngine, prepare, run
    >>> def extract(images, boxes, out, options):
    ...     with RayEngine("local", workers=2) as engine:
    ...         job = prepare(images, boxes, out, JobSettings(), options, load=engine.load)
    ...         return run(job, engine=engine)
    """

    def __init__(
        self, address: str | None = None, *, workers: int | None = None, readers: int | None = None, retries: int = 3
    ) -> None:
        for name, value, least in (("workers", workers, 1), ("readers", readers, 0), ("retries", retries, 0)):
            if value is not None and value < least:
                raise ValueError(f"{name}: expected at least {least}, got {value}")
        require("ray", "ray")
        self._address, self._workers, self._readers, self.retries = address, workers, readers, retries
        self._settings, self._options = JobSettings(), BackboneOptions()
        self._first: Any = None
        self._ours = False

    def __enter__(self) -> RayEngine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if self._address == LOCAL:  # for this machine alone: reached by no other
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        logging.getLogger("ray").setLevel(logging.ERROR)
        import ray

        if ray.is_initialized():
            return self
        _check_reachable(self._address)
        dashboard = {"include_dashboard": False} if self._address == LOCAL else {}
        try:
            ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR, **dashboard)
        except Exception as error:  # Ray raises kinds of its own
            where = self._address or "the default address"
            raise WorkerError(f"Ray at {where}: {_reason(error)}") from error
        self._ours = True
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        if self._first is not None:
            ray.kill(self._first)
            self._first = None
        if self._ours:
            ray.shutdown()

    def threads(self, device: str) -> int:
        """How many threads each worker can have so that every machine has room for one, or for one for each GPU."""
        shares = [
            machine.get("CPU", 1.0) / (machine.get("GPU", 0.0) if _is_gpu(device) else 1.0)
            for machine in self._machines(device)
        ]
        return max(math.floor(min(shares, default=1.0)), 1)

    def load(self, settings: JobSettings, options: BackboneOptions) -> Loaded:
        """The backbone as a worker describes it; nothing of it is loaded in this process."""
        import ray

        if ":" in options.device:
            raise ValueError(f"device: Ray chooses the GPU of each worker, expected cuda, found {options.device!r}")
        self._settings, self._options = settings, options
        self.count()  # says at once where there is no room
        self._first = self._hire()
        asked = self._first.describe.remote(settings, options)
        try:
            described: Described = ray.get(asked, timeout=SECONDS_TO_START)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.GetTimeoutError:
            raise WorkerError(self._no_start()) from None
        except ray.exceptions.RayError as error:
            raise WorkerError(f"the first worker was lost: {_reason(error)}") from error
        return Loaded(RemoteBackbone(described), described.software)

    def run_shards(self, job: Job, shards: Sequence[Shard], report: Report, listener: Listener) -> None:
        """Write all of these shards; see :class:`roialign.features.job.Engine`."""
        with _token(job.out) as token:
            readers = max(self._options.threads // 2, 1) if self._readers is None else self._readers
            task = Task(replace(job.work, boxes=job.work.boxes.of_images(())), job.out, token, readers, listener.strict)
            crew = _Crew(self, job, task, shards, report, listener)
            try:
                crew.work()
            finally:
                crew.dismiss()
                remove_unfinished(job.out, shards)  # what lost workers have left

    def count(self) -> int:
        """How many workers are to work at the same time.

        Raises
        ------
        WorkerError
            Where it is not said, and the cluster has no room for any.
        """
        if self._workers is not None:
            return self._workers
        gpu, threads = _is_gpu(self._options.device), self._options.threads
        count = sum(
            int(min(machine.get("CPU", 0.0) // threads, machine.get("GPU", 0.0) if gpu else math.inf))
            for machine in self._machines(self._options.device)
        )
        if not count:
            raise WorkerError(f"{self._no_room()}; to wait for machines that are still to join, give --workers")
        return count

    def hire(self) -> Any:
        """A worker: the one that has described the backbone, or another."""
        first, self._first = self._first, None
        return first or self._hire()

    def join(self, actor: Any, task: Task) -> Any:
        """Ask a worker to get ready."""
        return actor.join.remote(self._settings, self._options, task)

    def _hire(self) -> Any:
        import ray

        resources = {"num_cpus": self._options.threads, "num_gpus": int(_is_gpu(self._options.device))}
        # Two calls at a time: the shard, and how far it is.
        actor = ray.remote(ShardWorker).options(max_concurrency=2, max_restarts=0, **resources)
        return actor.remote(os.getcwd())

    def _machines(self, device: str) -> list[dict[str, float]]:
        """The resources of the machines that are there and can have workers."""
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return [resources for resources in alive if resources.get("GPU" if _is_gpu(device) else "CPU", 0.0) >= 1]

    def _no_room(self) -> str:
        import ray

        found = ray.cluster_resources()
        gpu = " and a GPU" if _is_gpu(self._options.device) else ""
        return (
            f"Ray has no machine for a worker of {counted(self._options.threads, 'CPU')}{gpu}: the cluster has "
            f"{found.get('CPU', 0.0):g} CPUs and {found.get('GPU', 0.0):g} GPUs in all"
        )

    def _no_start(self) -> str:
        return f"no worker has started in {SECONDS_TO_START:g} s. {self._no_room()}; others may be using them"

    def check_start(self, waited: float) -> None:
        """Raises WorkerError where no worker has started after so many seconds."""
        if waited > SECONDS_TO_START:
            raise WorkerError(self._no_start())


@dataclass(eq=False)
class _Hand:
    """A worker, and what it was asked."""

    actor: Any
    asked: Any
    """The answer to come: to get ready, or of a shard; None while there is nothing to do."""
    ready: bool = False
    shard: Shard | None = None
    told: int = 0
    """How many images of the shard it has said are done."""
    progress: Any = None
    """The answer to come to how far it is."""


class _Crew:
    """The workers of one run, and the shards that wait for them."""

    def __init__(
        self, engine: RayEngine, job: Job, task: Task, shards: Sequence[Shard], report: Report, listener: Listener
    ) -> None:
        self._engine, self._job, self._task = engine, job, task
        self._report, self._listener = report, listener
        self._waiting = deque(shards)
        self._losses: Counter[str] = Counter()
        self._failed_starts = 0
        self._hands: list[_Hand] = []
        self._most = engine.count()
        self._since = time.monotonic()

    def work(self) -> None:
        """Until every shard is done."""
        import ray

        while self._waiting or self._busy():
            while len(self._hands) < min(self._most, len(self._waiting) + self._busy()):
                actor = self._engine.hire()
                self._hands.append(_Hand(actor, self._engine.join(actor, self._task)))
            by_answer = {hand.asked: hand for hand in self._hands if hand.asked is not None}
            answers, _ = ray.wait(list(by_answer), num_returns=1, timeout=SECONDS_PER_PROGRESS)
            for answer in answers:
                self._settle(by_answer[answer])
            self._hear()
            if any(hand.ready for hand in self._hands):
                self._since = time.monotonic()
            self._engine.check_start(time.monotonic() - self._since)

    def dismiss(self) -> None:
        """End all workers, whatever they do."""
        for hand in self._hands:
            self._end(hand)

    def _busy(self) -> int:
        return sum(hand.shard is not None for hand in self._hands)

    def _settle(self, hand: _Hand) -> None:
        """Take an answer, and give the worker its next shard."""
        import ray

        try:
            answer = ray.get(hand.asked)
        except ray.exceptions.RayTaskError as error:
            self._refused(hand, error.cause)
            return
        except ray.exceptions.RayError as error:
            self._lost(hand, f"its worker was lost: {_reason(error)}")
            return
        if hand.shard is not None:
            self._finished(hand, hand.shard, answer)
        elif not hand.ready:
            hand.ready = True
            self._failed_starts = 0
            self._report.workers = max(self._report.workers, sum(one.ready for one in self._hands))
        hand.asked = hand.shard = None
        if self._waiting:
            self._give(hand, self._waiting.popleft())

    def _give(self, hand: _Hand, shard: Shard) -> None:
        folders = {image.parent: image for image in reversed(shard.images)}
        seen = [image for image in folders.values() if image.exists()]
        boxes = self._job.work.boxes.of_images(shard.images)
        hand.shard, hand.told = shard, 0
        hand.asked = hand.actor.run_shard.remote(shard, boxes, seen)

    def _finished(self, hand: _Hand, shard: Shard, done: Done) -> None:
        self._report.add(done.report)
        for name, why in done.report.errors.items():
            self._listener.failed(Path(name), why)
        for image, remark in done.remarks:
            self._listener.remark(image, remark)
        self._listener.done(len(shard.images) - hand.told)

    def _refused(self, hand: _Hand, error: Exception) -> None:
        """A worker that is there has raised an error."""
        if isinstance(error, ImageFailed):
            self._listener.failed(*error.args)
        if isinstance(error, WorkerError | ImageFailed):
            raise error
        self._lost(hand, f"its worker failed: {_reason(error)}", error)

    def _lost(self, hand: _Hand, why: str, error: Exception | None = None) -> None:
        """Do without a worker: another does its shard."""
        self._end(hand)
        self._hands.remove(hand)
        shard = hand.shard
        if shard is None:
            self._failed_starts += not hand.ready
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise WorkerError(f"{self._failed_starts} workers in a row did not start: {why}")
            return
        self._listener.done(-hand.told)
        self._losses[shard.file] += 1
        if self._losses[shard.file] > self._engine.retries:
            if error is not None:
                raise error
            first, last = shard.images[0], shard.images[-1]
            raise WorkerError(
                f"{shard.file}: {counted(self._losses[shard.file], 'worker')} lost on it, with images from {first} to "
                f"{last}; {why}"
            )
        self._listener.lost(shard.file, why)
        self._waiting.appendleft(shard)

    def _hear(self) -> None:
        """How far the workers are."""
        import ray

        for hand in self._hands:
            if hand.shard is None:
                continue
            if hand.progress is None:
                hand.progress = hand.actor.progress.remote(SECONDS_PER_PROGRESS)
            elif ray.wait([hand.progress], timeout=0)[0]:
                with suppress(ray.exceptions.RayError):  # that it is lost says its shard
                    file, count = ray.get(hand.progress)
                    if file == hand.shard.file:
                        self._listener.done(count - hand.told)
                        hand.told = count
                hand.progress = None

    @staticmethod
    def _end(hand: _Hand) -> None:
        import ray

        ray.kill(hand.actor)


@contextmanager
def _token(folder: Path) -> Iterator[str]:
    """A file in the folder while the run lasts, by which a worker sees that it is the same folder."""
    path = folder / f".{MANIFEST}.{secrets.token_hex(4)}.part"  # if this process is killed, the next run removes it
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


def _check_reachable(address: str | None) -> None:
    """Raises WorkerError where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    found = re.fullmatch(r"([^/:]+):(\d{1,5})", address or "")
    if found:
        try:
            socket.create_connection((found[1], int(found[2])), timeout=SECONDS_TO_CONNECT).close()
        except (OSError, OverflowError) as error:
            raise WorkerError(f"Ray at {address}: cannot be reached: {error}") from error


def _is_gpu(device: str) -> bool:
    return device.partition(":")[0] == "cuda"


def _reason(error: BaseException) -> str:
    """What Ray says, without identifiers and without its guesses at the causes."""
    lines = [line.strip() for line in str(error).partition(" Some common causes")[0].splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("class_name:", "actor_id:", "namespace:"))]
    return cut(" ".join(said), MOST_LETTERS) or type(error).__name__
