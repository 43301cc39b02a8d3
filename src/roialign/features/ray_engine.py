"""The Ray engine: processes the shards of a job on a cluster, with workers that each load the backbone.

If a worker is lost, another worker processes its shard again. As on one machine, the files of the shards alone show
which shards are done. Ray stores nothing.
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
from .._signals import sigterm_handler_kept
from .._text import counted, cut
from .backbone import BackboneOptions
from .engine import Listener, Report
from .job import Job, JobSettings, Loaded
from .manifest import MANIFEST, remove_unfinished
from .ray_worker import Described, Done, ImageFailed, RemoteBackbone, ShardWorker, Task, WorkerError
from .shards import Shard

#: The time between the progress reports of a worker.
SECONDS_PER_PROGRESS = 1.0
#: The timeout for connecting to the address of a cluster.
SECONDS_TO_CONNECT = 10.0
#: The timeout for the start of the first worker, which may have to wait for a machine.
SECONDS_TO_START = 600.0
#: The number of workers in a row that may be lost before they are ready.
MOST_FAILED_STARTS = 3
#: The largest number of characters of Ray's messages to show.
MOST_CHARACTERS = 400
#: The address that starts Ray on this machine only.
LOCAL = "local"


class RayEngine:
    """A context manager that connects to a Ray cluster, or starts Ray on this machine.

    Parameters
    ----------
    address : str, optional
        The address of the cluster: ``host:port``, ``auto``, or ``local`` to start Ray on this machine until the engine
        is closed. The default is the environment variable RAY_ADDRESS, or else the cluster of this machine, or else
        ``local``.
    workers : int, optional
        The number of workers. The default is as many as fit on the cluster: one per GPU, or on CPUs, each with the
        number of threads of the backbone.
    readers : int, optional
        The number of processes of each worker that read images. The default is half the number of threads.
    retries : int, default 3
        The number of times to retry a shard whose worker was lost.

    Raises
    ------
    WorkerError
        If the cluster cannot be reached, if no machine can run a worker, or if workers are lost too often.
    ModuleNotFoundError
        If Ray is not installed.

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
        if self._address == LOCAL:  # not reachable from other machines
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        logging.getLogger("ray").setLevel(logging.ERROR)
        import ray

        if ray.is_initialized():
            return self
        _check_reachable(self._address)
        dashboard = {"include_dashboard": False} if self._address == LOCAL else {}
        try:
            with sigterm_handler_kept():  # Ray sets its own
                ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR, **dashboard)
        except Exception as error:  # Ray raises its own kinds of errors
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
        """Return the number of threads per worker with which each machine can run a worker, or one per GPU."""
        shares = [
            machine.get("CPU", 1.0) / (machine.get("GPU", 0.0) if _is_gpu(device) else 1.0)
            for machine in self._machines(device)
        ]
        return max(math.floor(min(shares, default=1.0)), 1)

    def load(self, settings: JobSettings, options: BackboneOptions) -> Loaded:
        """Load the backbone on a worker, and return its description. It is not loaded in this process."""
        import ray

        if ":" in options.device:
            raise ValueError(
                f"device: expected cuda, because Ray chooses the GPU of each worker, got {options.device!r}"
            )
        self._settings, self._options = settings, options
        self.count()  # raises at once if no worker fits
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
        """Process and write all of these shards; see :class:`roialign.features.job.Engine`."""
        with _token(job.out) as token:
            readers = max(self._options.threads // 2, 1) if self._readers is None else self._readers
            task = Task(replace(job.work, boxes=job.work.boxes.of_images(())), job.out, token, readers, listener.strict)
            crew = _Crew(self, job, task, shards, report, listener)
            try:
                crew.work()
            finally:
                crew.dismiss()
                remove_unfinished(job.out, shards)  # left behind by lost workers

    def count(self) -> int:
        """Return the number of workers.

        Raises
        ------
        WorkerError
            If it is not given and no worker fits on the cluster.
        """
        if self._workers is not None:
            return self._workers
        gpu, threads = _is_gpu(self._options.device), self._options.threads
        count = sum(
            int(min(machine.get("CPU", 0.0) // threads, machine.get("GPU", 0.0) if gpu else math.inf))
            for machine in self._machines(self._options.device)
        )
        if not count:
            raise WorkerError(f"{self._no_room()}; to wait for more machines to join, give --workers")
        return count

    def hire(self) -> Any:
        """Return the worker that has described the backbone, or a new worker."""
        first, self._first = self._first, None
        return first or self._hire()

    def join(self, actor: Any, task: Task) -> Any:
        """Ask a worker to prepare for the job."""
        return actor.join.remote(self._settings, self._options, task)

    def _hire(self) -> Any:
        import ray

        resources = {"num_cpus": self._options.threads, "num_gpus": int(_is_gpu(self._options.device))}
        # Two concurrent calls: one for the shard and one for its progress.
        actor = ray.remote(ShardWorker).options(max_concurrency=2, max_restarts=0, **resources)
        return actor.remote(os.getcwd())

    def _machines(self, device: str) -> list[dict[str, float]]:
        """Return the resources of the connected machines that can run workers."""
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return [resources for resources in alive if resources.get("GPU" if _is_gpu(device) else "CPU", 0.0) >= 1]

    def _no_room(self) -> str:
        import ray

        found = ray.cluster_resources()
        gpu = " and a GPU" if _is_gpu(self._options.device) else ""
        return (
            f"Ray has no machine for a worker with {counted(self._options.threads, 'CPU')}{gpu}: the cluster has "
            f"{found.get('CPU', 0.0):g} CPUs and {found.get('GPU', 0.0):g} GPUs in all"
        )

    def _no_start(self) -> str:
        return f"no worker has started in {SECONDS_TO_START:g} s. {self._no_room()}; others may be using them"

    def check_start(self, waited: float) -> None:
        """Raise WorkerError if no worker has started within `SECONDS_TO_START`."""
        if waited > SECONDS_TO_START:
            raise WorkerError(self._no_start())


@dataclass(eq=False)
class _Worker:
    """A worker and its current call."""

    actor: Any
    call: Any
    """The pending result of joining or of a shard; None if the worker is idle."""
    ready: bool = False
    shard: Shard | None = None
    reported: int = 0
    """The number of images of the shard that the worker has reported as done."""
    progress: Any = None
    """The pending result of the call for its progress."""


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
        self._members: list[_Worker] = []
        self._most = engine.count()
        self._since = time.monotonic()

    def work(self) -> None:
        """Process all shards."""
        import ray

        while self._waiting or self._busy():
            while len(self._members) < min(self._most, len(self._waiting) + self._busy()):
                actor = self._engine.hire()
                self._members.append(_Worker(actor, self._engine.join(actor, self._task)))
            by_call = {worker.call: worker for worker in self._members if worker.call is not None}
            finished, _ = ray.wait(list(by_call), num_returns=1, timeout=SECONDS_PER_PROGRESS)
            for call in finished:
                self._settle(by_call[call])
            self._update_progress()
            if any(worker.ready for worker in self._members):
                self._since = time.monotonic()
            self._engine.check_start(time.monotonic() - self._since)

    def dismiss(self) -> None:
        """Stop all workers, also if they are busy."""
        for worker in self._members:
            self._end(worker)

    def _busy(self) -> int:
        return sum(worker.shard is not None for worker in self._members)

    def _settle(self, worker: _Worker) -> None:
        """Handle the result of a call, and give the worker its next shard."""
        import ray

        try:
            result = ray.get(worker.call)
        except ray.exceptions.RayTaskError as error:
            self._failed(worker, error.cause)
            return
        except ray.exceptions.RayError as error:
            self._lost(worker, f"its worker was lost: {_reason(error)}")
            return
        if worker.shard is not None:
            self._finished(worker, worker.shard, result)
        elif not worker.ready:
            worker.ready = True
            self._failed_starts = 0
            self._report.workers = max(self._report.workers, sum(one.ready for one in self._members))
        worker.call = worker.shard = None
        if self._waiting:
            self._give(worker, self._waiting.popleft())

    def _give(self, worker: _Worker, shard: Shard) -> None:
        folders = {image.parent: image for image in reversed(shard.images)}
        seen = [image for image in folders.values() if image.exists()]
        boxes = self._job.work.boxes.of_images(shard.images)
        worker.shard, worker.reported = shard, 0
        worker.call = worker.actor.run_shard.remote(shard, boxes, seen)

    def _finished(self, worker: _Worker, shard: Shard, done: Done) -> None:
        self._report.add(done.report)
        for name, why in done.report.errors.items():
            self._listener.failed(Path(name), why)
        for image, remark in done.remarks:
            self._listener.remark(image, remark)
        self._listener.done(len(shard.images) - worker.reported)

    def _failed(self, worker: _Worker, error: Exception) -> None:
        """Handle an error raised by a worker."""
        if isinstance(error, ImageFailed):
            self._listener.failed(*error.args)
        if isinstance(error, WorkerError | ImageFailed):
            raise error
        self._lost(worker, f"its worker failed: {_reason(error)}", error)

    def _lost(self, worker: _Worker, why: str, error: Exception | None = None) -> None:
        """Remove a worker, and return its shard to the queue."""
        self._end(worker)
        self._members.remove(worker)
        shard = worker.shard
        if shard is None:
            self._failed_starts += not worker.ready
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise WorkerError(f"{self._failed_starts} workers in a row did not start: {why}")
            return
        self._listener.done(-worker.reported)
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

    def _update_progress(self) -> None:
        """Report the progress of all workers."""
        import ray

        for worker in self._members:
            if worker.shard is None:
                continue
            if worker.progress is None:
                worker.progress = worker.actor.progress.remote(SECONDS_PER_PROGRESS)
            elif ray.wait([worker.progress], timeout=0)[0]:
                with suppress(ray.exceptions.RayError):  # the call for its shard reports a lost worker
                    file, count = ray.get(worker.progress)
                    if file == worker.shard.file:
                        self._listener.done(count - worker.reported)
                        worker.reported = count
                worker.progress = None

    @staticmethod
    def _end(worker: _Worker) -> None:
        import ray

        ray.kill(worker.actor)


@contextmanager
def _token(folder: Path) -> Iterator[str]:
    """Create a file in the folder during the run, by which workers check that they see the same folder."""
    path = folder / f".{MANIFEST}.{secrets.token_hex(4)}.part"  # if this process is killed, the next run removes it
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


def _check_reachable(address: str | None) -> None:
    """Raise WorkerError if nothing listens at HOST:PORT. Ray itself would retry for minutes."""
    found = re.fullmatch(r"([^/:]+):(\d{1,5})", address or "")
    if found:
        try:
            socket.create_connection((found[1], int(found[2])), timeout=SECONDS_TO_CONNECT).close()
        except (OSError, OverflowError) as error:
            raise WorkerError(f"Ray at {address}: cannot be reached: {error}") from error


def _is_gpu(device: str) -> bool:
    return device.partition(":")[0] == "cuda"


def _reason(error: BaseException) -> str:
    """Return Ray's message without identifiers and possible causes."""
    lines = [line.strip() for line in str(error).partition(" Some common causes")[0].splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("class_name:", "actor_id:", "namespace:"))]
    return cut(" ".join(kept), MOST_CHARACTERS) or type(error).__name__
