"""The workers of the Ray engine as calls whose results are chosen here, without Ray's processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roialign.features import Job, Listener, Report
from roialign.features.ray_crew import Crew
from roialign.features.ray_worker import Done, Task
from tests.features.jobs import small_job

ray = pytest.importorskip("ray")


class Call:
    """A pending result, there after it has been waited for a number of times."""

    def __init__(self, result: object, waits: int = 1) -> None:
        self.result, self.waits = result, waits


class Worker:
    """Processes as many shards as it is said to, and is lost on the next."""

    def __init__(self, shards: int, images_seen: int = 0) -> None:
        self.left, self._images_seen = shards, images_seen
        self.files: list[str] = []
        self.run_shard = SimpleNamespace(remote=self._run_shard)
        self.progress = SimpleNamespace(remote=lambda _: Call((self.files[-1], self._images_seen)))

    def _run_shard(self, shard: Any, boxes: object, seen: object) -> Call:
        del boxes, seen
        self.files.append(shard.file)
        self.left -= 1
        if self.left < 0:
            return Call(ray.exceptions.RayActorError(), waits=6)
        return Call(Done(Report(images=len(shard.images)), []), waits=6)


class Workers:
    """Hires these workers, one after the other."""

    retries = 3

    def __init__(self, *workers: Worker) -> None:
        self._workers = list(workers)

    def count(self) -> int:
        return 2

    def hire(self) -> Worker:
        return self._workers.pop(0)

    def join(self, actor: object, task: object) -> Call:
        del actor, task
        return Call("here")

    def check_start(self, waited: float) -> None:
        del waited


class Counts(Listener):
    def __init__(self) -> None:
        self.counts: list[int] = []

    def done(self, count: int) -> None:
        self.counts.append(count)


@pytest.fixture
def job(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job of two shards, with a stand-in for Ray's functions."""

    def wait(
        calls: Sequence[Call], num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[Call], list[Call]]:
        assert calls, "there is nothing to wait for, and Ray would return at once, again and again"
        del timeout
        for call in calls:
            call.waits -= 1
        there = [call for call in calls if call.waits <= 0][:num_returns]
        return there, [call for call in calls if call not in there]

    def get(call: Call) -> object:
        if isinstance(call.result, Exception):
            raise call.result
        return call.result

    for name, function in (("wait", wait), ("get", get), ("kill", lambda _: None)):
        monkeypatch.setattr(ray, name, function)
    return small_job(images[:8], tmp_path / "out")


def run_with(workers: Workers, job: Job) -> tuple[Report, list[int]]:
    """Process the shards of a job: the report, and the counts of images that the listener was told."""
    report, heard = Report(), Counts()
    task = Task(job.work, job.out, "token", readers=0, strict=False)
    Crew(workers, job, task, job.shards, report, heard).work()
    return report, heard.counts


def test_the_shard_of_a_lost_worker_goes_to_one_that_is_idle(job: Job) -> None:
    idle, lost = Worker(2), Worker(0)
    report, _ = run_with(Workers(idle, lost), job)
    assert report.images == 8
    first, second = (shard.file for shard in job.shards)
    assert (idle.files, lost.files) == ([first, second], [second])


def test_a_listener_hears_only_of_images_that_are_done_or_lost(job: Job) -> None:
    """Workers are asked for their progress every second, also while it is 0."""
    for seen, expected in ((0, [4, 4]), (3, [3, 3, 1, -3, 3, 1]), (4, [4, 4, -4, 4])):
        report, counts = run_with(Workers(Worker(2, seen), Worker(0, seen)), job)
        assert report.images == sum(counts) == 8
        assert counts == expected
