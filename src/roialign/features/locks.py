"""Locks in the folder of a job, so that no two runs write the same shard, and the files that killed runs left behind.

A lock is a file that its run has open and locked. The system releases the lock of a process that is killed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from .manifest import MANIFEST, OtherJobError

#: Readers of Parquet folders skip names that begin with an underscore.
LOCK, TOKEN = "_lock", "_token-"
#: The names of the locks of whole jobs and of parts.
LOCKS = re.compile(rf"{LOCK}(?:-(\d+)-of-(\d+))?")
#: The name of a file that is being written; see :func:`roialign.files.writing.atomic_write`.
UNFINISHED = re.compile(r"\.(.+)\.[^.]+\.part", re.DOTALL)


@contextmanager
def locked(folder: Path, part: tuple[int, int] = (1, 1)) -> Iterator[None]:
    """Lock a part of a job, given by its number and the number of parts, while this run processes it.

    Other parts of the same division may be locked at the same time. Those of another division have the same shards.

    Raises
    ------
    OtherJobError
        If another run has the lock, or that of a part of another division. Of two runs that begin at the same time with
        different divisions, either or both get this error.
    """
    number, count = part
    path = folder / (LOCK if count == 1 else f"{LOCK}-{number}-of-{count}")
    file = _locked_file(path, "a+b")
    if file is None:
        raise OtherJobError(f"{folder}: another run writes to this folder")
    with _released(path, file):
        for other, theirs in _locks_in(folder):  # after this lock is there, so that a run that begins later sees it
            if theirs[1] != count and not remove_if_free(other):
                raise OtherJobError(
                    f"{folder}: another run writes to this folder: {_in_words(theirs)}, and this one is "
                    f"{_in_words(part)}: wait for it, or divide the job into the same number of parts"
                )
        yield


def _locks_in(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Yield every lock in a folder with its part. Some may have been left behind by killed runs."""
    for name in os.listdir(folder):
        found = LOCKS.fullmatch(name)
        if found:
            yield folder / name, (int(found[1] or 1), int(found[2] or 1))


def _in_words(part: tuple[int, int]) -> str:
    return "the whole job" if part[1] == 1 else f"part {part[0]} of {part[1]}"


@contextmanager
def token_file(folder: Path) -> Iterator[str]:
    """Make a file in the folder for the time of a run, by which its workers check that they see the same folder."""
    file = None
    while file is None:  # a run that begins may be looking whether it was left behind
        path = folder / f"{TOKEN}{secrets.token_hex(4)}"
        file = _locked_file(path, "a+b")
    with _released(path, file):
        yield path.name


def remove_if_free(path: Path) -> bool:
    """Remove the file of a lock that a killed run left behind. Return False if a run has the lock."""
    try:
        file = _locked_file(path, "r+b")
    except FileNotFoundError:
        return True
    if file is None:
        return False
    with _released(path, file):
        return True


@contextmanager
def _released(path: Path, file: IO[bytes]) -> Iterator[None]:
    """At the end, remove the file of a lock, and release the lock."""
    try:
        yield
    finally:
        is_removed = _remove(path)  # before it is closed, so that it is not the lock of another run
        file.close()
        if not is_removed:  # Windows removes no open file, so it is not that of another run either
            _remove(path)


def _remove(path: Path) -> bool:
    """Remove a file, and return whether that was possible."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _locked_file(path: Path, mode: str) -> IO[bytes] | None:
    """Open a file and lock it; None if another run has the lock.

    If the run that had the lock removes the file in between, open another.
    """
    while True:
        with ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(path.open(mode))
            try:
                _lock(file.fileno())
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return None
                # such as a file system without locks
                raise OSError(error.errno, f"cannot be locked: {error.strerror}", str(path)) from error
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    stack.pop_all()
                    return file


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_left_behind(folder: Path, files: Iterable[str]) -> None:
    """Remove what killed runs left behind: temporary files of these files and of the manifest, and tokens."""
    remove_unfinished(folder, (MANIFEST, *files))
    for path in folder.glob(f"{TOKEN}*"):
        remove_if_free(path)


def remove_unfinished(folder: Path, files: Iterable[str]) -> None:
    """Remove temporary files of these files, which nobody may be writing."""
    names = set(files)
    for name in os.listdir(folder):
        unfinished = UNFINISHED.fullmatch(name)
        if unfinished and unfinished[1] in names:
            (folder / name).unlink(missing_ok=True)
