"""The workers of a step. They take its jobs one by one until the job or the step runs out of time."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..process import SlowWorkerError, Worker, WorkerError
from .record import Item, Record, Results
from .steps import CORES, Step

if TYPE_CHECKING:
    from .run import Log

#: Seconds for a process to import everything and collect its tests.
START = 60.0
#: Seconds for a process to end after its input is closed.
END = 30.0
#: Under a checker, results count only once their process has ended and the checker has given its verdict. Therefore a
#: process ends after this many jobs.
JOBS_PER_VERDICT = 3
#: Under a checker, a job begins only if this many times the longest job so far is left, and the time to end.
MARGIN = 1.5
#: Seconds to allow for the end of a process, until one has taken longer.
SOON = 10.0
#: Seconds between two writes of the record, and between two lines of progress.
WRITE_EVERY, TELL_EVERY = 0.5, 15.0
#: Number of output lines of a worker to log after a failure.
LAST_LINES = 40


class Team:
    """One step of a run. `until` is a time of `time.monotonic`. At most `most` jobs are run, or all."""

    def __init__(
        self, step: Step, record: Record, log: Log, until: float, environment: Mapping[str, str], most: int | None
    ) -> None:
        self.step, self.record, self.log, self.until, self.most = step, record, log, until, most
        self.results: Results = record.steps[step.name]
        self.environment = {**step.environment(), **environment}
        self.lock = threading.Lock()
        self.queue: deque[str] | None = None
        self.longest_start = self.longest_job = 0.0
        self.longest_end = SOON
        self.written = self.told = time.monotonic()

    @property
    def seconds_left(self) -> float:
        return self.until - time.monotonic()

    def has_time(self, before: float = 0.0) -> bool:
        """Whether a job can begin after this many seconds. Under a checker, its process must also have time to end."""
        if self.step.checker is None:
            return self.seconds_left > 0
        job = min(MARGIN * self.longest_job, self.step.job_limit)
        return self.seconds_left > before + job + self.longest_end

    def run(self) -> None:
        begin = time.monotonic()
        self.results.problem = None
        with tempfile.TemporaryDirectory() as folder:
            logs = [
                Path(folder) / f"checker-{index}.log" for index in range(min(self.step.workers, self.most or CORES))
            ]
            threads = [threading.Thread(target=self.work, args=(log,), daemon=True) for log in logs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if self.results.left(self.most) != 0 and self.results.problem is None:
            self.results.problem = "the time limit was reached"
        self.results.seconds += time.monotonic() - begin
        self.record.write()

    def work(self, checked: Path) -> None:
        """Run one thread: one process after another, while there are jobs and time."""
        while self.has_time(self.longest_start) and (self.queue is None or self.queue):
            try:
                is_over = self.one_process(checked)
            except (WorkerError, OSError) as reason:
                with self.lock:
                    self.results.problem = str(reason)
                return
            if is_over:
                return

    def one_process(self, checked: Path) -> bool:
        """Run jobs in one process until one breaks it, or enough wait for a verdict. Return whether to stop."""
        done: dict[str, Item] = {}
        has_failed = False
        worker = Worker(self.step.command(checked), limit=START, environment=self.environment)
        try:
            self.list_jobs(worker)
            while (name := self.take()) is not None:
                item, is_spoilt = self.one_job(worker, name)
                if item is None:  # the step's time is over
                    self.put_back(name)
                    return True
                has_failed |= item.outcome == "failed"
                if self.step.checker is None or item.outcome == "failed":
                    self.keep({name: item})
                else:
                    done[name] = item
                if is_spoilt or len(done) == JOBS_PER_VERDICT:
                    return False
            return True
        finally:
            said = worker.said()
            code = self.end(worker)
            self.keep(self.judged(done, code, checked))
            if code or has_failed:
                self.log.note("\n".join([f"{self.step.name}: a process ended with code {code}", *said[-LAST_LINES:]]))

    def list_jobs(self, worker: Worker) -> None:
        """Wait until the process is ready. The first process that is ready reports the names of the jobs."""
        begin = time.monotonic()
        worker.limit = min(START, max(self.seconds_left, 0.1))
        names = worker.request("list")["names"]
        with self.lock:
            self.longest_start = max(self.longest_start, time.monotonic() - begin)
            if self.queue is not None:
                return
            self.results.count = len(names)
            done = self.results.items
            if self.most is not None and self.most < len(names):
                names = [names[index * len(names) // self.most] for index in range(self.most)]
            self.queue = deque(name for name in names if name not in done)

    def take(self) -> str | None:
        with self.lock:
            return self.queue.popleft() if self.queue and self.has_time() else None

    def put_back(self, name: str) -> None:
        with self.lock:
            assert self.queue is not None
            self.queue.appendleft(name)

    def one_job(self, worker: Worker, name: str) -> tuple[Item | None, bool]:
        """Return the result of a job, or None if the step's time ran out, and whether the process is unusable."""
        begin, has_less = time.monotonic(), self.seconds_left < self.step.job_limit
        worker.limit = min(self.step.job_limit, max(self.seconds_left, 0.1))
        reply: dict[str, Any]
        try:
            reply = worker.request("run", name=name)
        except SlowWorkerError as reason:
            if has_less:
                return None, True
            reply = {"outcome": "failed", "notes": [str(reason)], "is_broken": True}
        except WorkerError as reason:
            reply = {"outcome": "failed", "notes": [str(reason)], "is_broken": True}
        seconds, is_broken = round(time.monotonic() - begin, 2), bool(reply["is_broken"])
        if not is_broken:  # a job that hung says nothing about the others
            with self.lock:
                self.longest_job = max(self.longest_job, seconds)
        return Item(reply["outcome"], seconds, reply["notes"], reply.get("found", {})), is_broken

    def end(self, worker: Worker) -> int:
        """End a process and return its exit code."""
        begin = time.monotonic()
        code = worker.close(END)
        if code >= 0:
            with self.lock:
                self.longest_end = max(self.longest_end, time.monotonic() - begin)
        return code

    def judged(self, done: dict[str, Item], code: int, checked: Path) -> dict[str, Item]:
        """Add the verdict of the program that watched a process to the jobs. A killed program gives none."""
        if code < 0:
            return {}
        if code:
            found = checked.read_text(errors="replace").splitlines() if checked.exists() else []
            errors = [line.strip("= ") for line in found if "Invalid" in line or "ERROR SUMMARY" in line] or found[:1]
            self.log.note("\n".join(found[:400]))
            for item in done.values():
                item.outcome = "failed"
                item.notes.append(f"{self.step.checker}: code {code}: {'; '.join(errors[:2])}")
        return done

    def keep(self, items: dict[str, Item]) -> None:
        """Add to the results, which are written at intervals."""
        with self.lock:
            self.results.items.update(items)
            for name, item in items.items():
                if item.outcome == "failed":
                    self.log.say(f"{self.step.name}: FAILED {name}: {'; '.join(item.notes)[:300]}")
            now = time.monotonic()
            if now - self.written > WRITE_EVERY:
                self.record.write()
                self.written = now
            if now - self.told > TELL_EVERY:
                self.log.say(f"{self.step.name}: {len(self.results.items)} of {self.results.count}")
                self.told = now
