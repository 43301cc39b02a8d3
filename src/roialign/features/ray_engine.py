"""The Ray engine: processes the shards of a job on a cluster, with workers that each load the backbone.

If a worker is lost, another worker processes its shard again. As on one machine, the files of the shards alone show
which shards are done. Ray stores nothing.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .. import _validate
from .._extras import require
from .._signals import sigterm_handler_kept
from .._text import counted
from .backbone import BackboneOptions
from .checks import check_optional_int, check_optional_text
from .engine import Listener, Report
from .job import Job, JobSettings, Loaded
from .locks import remove_unfinished, token_file
from .ray_crew import Crew, ray_reason
from .ray_worker import Described, RemoteBackbone, ShardWorker, Task, WorkerError
from .shards import Shard

#: The timeout for connecting to the address of a cluster.
SECONDS_TO_CONNECT = 10.0
#: The timeout for the start of the first worker, which may have to wait for a machine.
SECONDS_TO_START = 600.0
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
        The number of processes of each worker that read images. The default is half the number of threads, at least 1.
    retries : int, default 3
        The number of times to retry a shard whose worker was lost.

    Raises
    ------
    ValueError
        If a number is out of range.
    TypeError
        If an argument is of the wrong type.
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
        check_optional_text(address, "address")
        self._workers = check_optional_int(workers, "workers", 1)
        self._readers = check_optional_int(readers, "readers", 0)
        self.retries = _validate.check_int(retries, "retries", 0)
        require("ray", "ray")
        self._address = address
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
            raise WorkerError(f"Ray at {where}: {ray_reason(error)}") from error
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
            raise WorkerError(f"the first worker was lost: {ray_reason(error)}") from error
        return Loaded(RemoteBackbone(described), described.software)

    def run_shards(self, job: Job, shards: Sequence[Shard], report: Report, listener: Listener) -> None:
        """Process and write all of these shards; see :class:`roialign.features.job.Engine`."""
        with token_file(job.out) as token:
            readers = max(self._options.threads // 2, 1) if self._readers is None else self._readers
            task = Task(replace(job.work, boxes=job.work.boxes.of_images(())), job.out, token, readers, listener.strict)
            crew = Crew(self, job, task, shards, report, listener)
            try:
                crew.work()
            finally:
                crew.dismiss()
                remove_unfinished(job.out, [shard.file for shard in shards])  # left behind by lost workers

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
