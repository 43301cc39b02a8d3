"""The workers of the Ray engine, which process the shards of a job.

If a worker is lost, another worker processes its shard again.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .._text import counted, cut
from .engine import Listener, Report
from .job import Job
from .ray_worker import Done, ImageFailed, Task, WorkerError
from .shards import Shard

#: The time between the progress reports of a worker.
SECONDS_PER_PROGRESS = 1.0
#: The number of workers in a row that may be lost before they are ready.
MOST_FAILED_STARTS = 3
#: The largest number of characters of Ray's messages to show.
MOST_CHARACTERS = 400


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


class Hirer(Protocol):
    """Where a crew gets its workers from; see :class:`roialign.features.RayEngine`."""

    retries: int

    def count(self) -> int:
        """Return the largest number of workers."""

    def hire(self) -> Any:
        """Return a worker."""

    def join(self, actor: Any, task: Task) -> Any:
        """Ask a worker to prepare for the job."""

    def check_start(self, waited: float) -> None:
        """Raise WorkerError if no worker has started for too many seconds."""


class Crew:
    """The workers of one run, and the shards that wait for them."""

    def __init__(
        self, engine: Hirer, job: Job, task: Task, shards: Sequence[Shard], report: Report, listener: Listener
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
            self._hand_out()
            self._hire()
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

    def _hand_out(self) -> None:
        """Give waiting shards to idle workers, also to those that have been idle since no shard was waiting."""
        for worker in self._members:
            if self._waiting and worker.ready and worker.call is None:
                self._give(worker, self._waiting.popleft())

    def _hire(self) -> None:
        """Hire workers for the shards that are still waiting."""
        while len(self._members) < min(self._most, len(self._waiting) + self._busy()):
            actor = self._engine.hire()
            self._members.append(_Worker(actor, self._engine.join(actor, self._task)))

    def _settle(self, worker: _Worker) -> None:
        """Handle the result of a call."""
        import ray

        try:
            result = ray.get(worker.call)
        except ray.exceptions.RayTaskError as error:
            self._failed(worker, error.cause)
            return
        except ray.exceptions.RayError as error:
            self._lost(worker, f"its worker was lost: {ray_reason(error)}")
            return
        if worker.shard is not None:
            self._finished(worker, worker.shard, result)
        elif not worker.ready:
            worker.ready = True
            self._failed_starts = 0
            self._report.workers = max(self._report.workers, sum(one.ready for one in self._members))
        worker.call = worker.shard = None

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
        self._count(worker, len(shard.images))

    def _count(self, worker: _Worker, count: int) -> None:
        """Report how many images of its shard a worker has done, unless that has been reported."""
        if count != worker.reported:
            self._listener.done(count - worker.reported)
            worker.reported = count

    def _failed(self, worker: _Worker, error: Exception) -> None:
        """Handle an error raised by a worker."""
        if isinstance(error, ImageFailed):
            self._listener.failed(*error.args)
        if isinstance(error, WorkerError | ImageFailed):
            raise error
        self._lost(worker, f"its worker failed: {ray_reason(error)}", error)

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
        self._count(worker, 0)
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
                        self._count(worker, count)
                worker.progress = None

    @staticmethod
    def _end(worker: _Worker) -> None:
        import ray

        ray.kill(worker.actor)


def ray_reason(error: BaseException) -> str:
    """Return Ray's message without identifiers and possible causes."""
    lines = [line.strip() for line in str(error).partition(" Some common causes")[0].splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("class_name:", "actor_id:", "namespace:"))]
    return cut(" ".join(kept), MOST_CHARACTERS) or type(error).__name__
