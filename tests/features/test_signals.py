"""Ctrl-C and SIGTERM: a run ends cleanly and can be resumed, and processes that it started leave them to it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from roialign._signals import Terminated, clean_up_when_terminated, is_one_of_several, sigterm_handler_kept
from roialign.features import GridBoxes, JobSettings, OtherJobError, locks, make_backbone, prepare, run
from roialign.features.backbone import BackboneOptions
from roialign.features.image_readers import Readers, Wanted
from roialign.features.images import ReadImage
from roialign.features.locks import locked
from tests.commands.invoked import invoke
from tests.features.jobs import contents
from tests.features.photographs import write_photographs
from tests.tables.signals import hear_interrupt

if sys.platform == "win32":
    pytest.skip("Windows has no signals between processes", allow_module_level=True)

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("sent", "code"), SIGNALS)
def test_a_run_that_is_stopped_leaves_nothing_unfinished(sent: signal.Signals, code: int, tmp_path: Path) -> None:
    """Every process of the group gets the signal, as from a terminal or a scheduler."""
    images = write_photographs(tmp_path / "photos", 40)
    out, whole = tmp_path / "out", tmp_path / "whole"
    words = [sys.executable, "-m", "roialign", "extract", tmp_path / "photos", "--boxes", "grid:1x1", "--out", out]
    words += ["--backbone", "pixels", "--output-size", "vector", "--shard-images", 1, "--readers", 2, "--threads", 1]
    with subprocess.Popen(
        list(map(str, words)),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupt,
    ) as process:
        while process.poll() is None and len(list(out.glob("features-*"))) < 2:
            time.sleep(0.001)
        os.killpg(process.pid, sent)
        _, errors = process.communicate(timeout=60)
    written = len(list(out.glob("features-*")))
    said = f"stopped with {written} of 40 shards done; rerun the same command to resume: {out}\n"
    assert (process.returncode, errors) == (code, said)
    assert 2 <= written < 40
    assert {path.name.partition("-")[0] for path in out.iterdir()} == {"_manifest.json", "features"}
    until = time.monotonic() + 10
    while _alive(process.pid) and time.monotonic() < until:  # until the system has collected the readers
        time.sleep(0.05)
    assert not _alive(process.pid)
    settings = JobSettings(backbone="pixels", sizes=((1, 1),), shard_images=1)
    for folder in (out, whole):
        run(prepare(images, GridBoxes(1, 1), folder, settings, BackboneOptions()), readers=0)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_leaves_signals_to_its_parent_from_the_start(sent: signal.Signals, tmp_path: Path) -> None:
    (image,) = write_photographs(tmp_path / "photos", 1)
    with Readers(1, make_backbone("pixels").image_size) as readers:
        stream = readers.read([Wanted(image, None)] * 5)
        readers._readers[0].ask(Wanted(image, None))  # starts the process, which imports its modules
        before = readers.process_ids
        os.kill(before[0], sent)
        assert all(isinstance(answer, ReadImage) for answer in stream)
        assert readers.process_ids == before


def test_a_reader_that_was_not_ended_does_not_keep_python_from_exiting(tmp_path: Path) -> None:
    """As after a second Ctrl-C, while the first one ends the readers. They ignore the SIGTERM that Python sends."""
    (image,) = write_photographs(tmp_path / "photos", 1)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from roialign.features import make_backbone\n"
        "from roialign.features.image_readers import Readers, Wanted\n"
        "if __name__ == '__main__':\n"
        "    readers = Readers(1, make_backbone('pixels').image_size)\n"
        f"    stream = readers.read([Wanted(Path({str(image)!r}), None)] * 2)\n"
        "    print(next(stream).height)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 0


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("1", False), ("2", True), ("all", False)])
def test_one_of_several_processes(value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some clouds set WORLD_SIZE to 1 for a single process."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if value is not None:
        monkeypatch.setenv("WORLD_SIZE", value)
    assert is_one_of_several() == expected


def test_a_process_that_ignores_sigterm_still_does() -> None:
    with _sigterm_handler(signal.SIG_IGN):
        clean_up_when_terminated()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    with _sigterm_handler(signal.SIG_DFL):
        clean_up_when_terminated()
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("own", [signal.SIG_IGN, signal.default_int_handler])
def test_the_handler_of_a_program_is_kept(own: Any, fails: bool) -> None:
    with _sigterm_handler(own):
        with suppress(RuntimeError), sigterm_handler_kept():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if fails:
                raise RuntimeError
        assert signal.getsignal(signal.SIGTERM) == own


@contextmanager
def _sigterm_handler(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_lock_is_removed_where_open_files_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    files: list[Any] = []
    opened: Any = locks._locked_file
    unlink = Path.unlink

    def remember(path: Path, mode: str) -> Any:
        files.append(opened(path, mode))
        return files[-1]

    def refuse(path: Path) -> None:
        if not files[-1].closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        unlink(path)

    monkeypatch.setattr(locks, "_locked_file", remember)
    monkeypatch.setattr(Path, "unlink", refuse)
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["_lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_removed_after_an_error(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(KeyboardInterrupt))
        stack.enter_context(locked(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["_lock"]
        with pytest.raises(OtherJobError, match="another run writes to this folder"), locked(tmp_path):
            pass
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_file_was_removed_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that had it removes the file after this run has opened it. A third run would make another file."""
    lock: Any = locks._lock
    calls = []

    def remove_first(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / "_lock").unlink()
        lock(descriptor)

    monkeypatch.setattr(locks, "_lock", remove_first)
    with locked(tmp_path):
        assert len(calls) == 2
        with pytest.raises(OtherJobError), locked(tmp_path):
            pass


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        del descriptor
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "_lock", fail)
    with pytest.raises(OSError, match="cannot be locked: No locks available") as raised, locked(tmp_path):
        pass
    assert raised.value.filename == str(tmp_path / "_lock")


def test_what_ray_raises_in_place_of_the_handler_ends_a_run_as_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits, Ray replaces every SystemExit of a handler by one with code 1."""

    def stopped(*_: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("roialign.commands.features._run", stopped)
    photos, out = write_photographs(tmp_path / "photos", 2)[0].parent, tmp_path / "out"
    options = ("--boxes", "grid:1x1", "--backbone", "pixels", "--output-size", "vector", "--out", out)
    found = invoke("extract", photos, *options)
    assert found.exit_code == 128 + signal.SIGTERM
    assert f"stopped with 0 of 1 shard done; rerun the same command to resume: {out}" in found.stderr
