"""Parts of a job that run at the same time, and what killed runs left behind."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from roialign.features import Job, OtherJobError, locks, run
from roialign.features.locks import locked, token_file
from tests.features.jobs import contents, small_job


@pytest.fixture
def job(images: list[Path], tmp_path: Path) -> Job:
    """Three shards."""
    return small_job(images, tmp_path / "out")


def unfinished(job: Job, number: int) -> Path:
    """The temporary file of a shard that is being written."""
    path = job.out / f".{job.shards[number].file}.0123abcd.part"
    path.write_bytes(b"half of it")
    return path


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ((1, 2), (1, 1), "part 1 of 2, and this one is the whole job"),
        ((1, 1), (1, 2), "the whole job, and this one is part 1 of 2"),
        ((1, 2), (3, 3), "part 1 of 2, and this one is part 3 of 3"),
    ],
)
def test_divisions_that_share_shards_do_not_run_at_the_same_time(
    theirs: tuple[int, int], ours: tuple[int, int], words: str, job: Job
) -> None:
    written = unfinished(job, 0)
    with locked(job.out, theirs):
        with pytest.raises(OtherJobError) as caught:
            run(job, readers=0, part=ours)
        assert str(caught.value) == (
            f"{job.out}: another run writes to this folder: {words}: wait for it, or divide the job into the same "
            "number of parts"
        )
        assert written.exists()
        with pytest.raises(OtherJobError, match=r"another run writes to this folder$"), locked(job.out, theirs):
            pass
    run(job, readers=0, part=ours)


def test_parts_of_one_division_run_at_the_same_time(job: Job) -> None:
    mine, others = unfinished(job, 0), unfinished(job, 1)
    with locked(job.out, (2, 2)):
        run(job, readers=0, part=(1, 2))
        assert (mine.exists(), others.exists()) == (False, True)
    run(job, readers=0, part=(2, 2))
    assert sorted(contents(job.out)) == ["_manifest.json", *(shard.file for shard in job.shards)]


def test_the_locks_of_killed_runs_do_not_count(job: Job) -> None:
    for name in ("_lock", "_lock-1-of-2", "_lock-2-of-3"):
        (job.out / name).touch()
    run(job, readers=0, part=(1, 3))
    assert not list(job.out.glob("_lock-1-*"))
    assert not (job.out / "_lock").exists()
    run(job, readers=0)
    assert sorted(contents(job.out)) == ["_manifest.json", *(shard.file for shard in job.shards)]


def test_a_part_leaves_the_token_of_another_alone(job: Job) -> None:
    """Workers that join the other part look for it. A token that a killed run left behind is removed."""
    (job.out / "_token-0123abcd").touch()
    with ExitStack() as stack:
        stack.enter_context(locked(job.out, (1, 2)))
        token = stack.enter_context(token_file(job.out))
        other = stack.enter_context(token_file(job.out))
        assert token != other
        run(job, readers=0, part=(2, 2))
        assert sorted(path.name for path in job.out.glob("_token*")) == sorted([token, other])
    assert not list(job.out.glob("_token*"))


def test_a_token_that_another_run_looks_at_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock: Any = locks._lock
    looked: list[Path] = []

    def look_first(descriptor: int) -> None:
        if not looked:
            looked.extend(tmp_path.iterdir())
            locks.remove_if_free(looked[0])
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        lock(descriptor)

    monkeypatch.setattr(locks, "_lock", look_first)
    with token_file(tmp_path) as token:
        assert [path.name for path in tmp_path.iterdir()] == [token] != [looked[0].name]
    assert list(tmp_path.iterdir()) == []


def test_runs_that_begin_a_job_at_the_same_time(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has begun, and removes what killed runs left behind, while the other is writing its manifest."""
    replace = os.replace

    def begin_first(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        run(small_job(images, tmp_path / "out"), readers=0, part=(1, 2))
        replace(source, target)

    monkeypatch.setattr(os, "replace", begin_first)
    run(small_job(images, tmp_path / "out"), readers=0, part=(2, 2))
    run(small_job(images, tmp_path / "whole"), readers=0)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_folder_that_is_removed_meanwhile_is_an_error(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def remove_first(source: Path, target: Path) -> None:
        Path(source).unlink()
        replace(source, target)

    monkeypatch.setattr(os, "replace", remove_first)
    with pytest.raises(FileNotFoundError):
        small_job(images, tmp_path / "out")
