"""Processes that read images ahead, in order; one that dies takes no other image with it."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from ..files.orientation import Annotated
from ..files.problems import FileError
from .backbone import ImageSize
from .images import ReadImage, read_resized

#: So many images each process is ahead, at most.
AHEAD = 4


class Wanted(NamedTuple):
    """An image to read."""

    path: Path
    annotated: Annotated | None
    """What its boxes say about its size and orientation."""


class Readers:
    """Reads images in `count` processes, or in this one where `count` is 0.

    A context manager: on leaving, the processes end.
    """

    def __init__(self, count: int, size: ImageSize) -> None:
        self._count, self._size = count, size
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, wanted: Iterable[Wanted]) -> Iterator[ReadImage | str]:
        """Every image in its order, or why it cannot be read."""
        if self._count == 0:
            yield from (_read(one, self._size) for one in wanted)
            return
        images = iter(wanted)
        ahead: deque[tuple[Wanted, Future[ReadImage | str]]] = deque()
        while True:
            while len(ahead) < AHEAD * self._count and (one := next(images, None)) is not None:
                ahead.append((one, self._submit(one)))
            if not ahead:
                return
            one, future = ahead[0]
            try:
                answer = future.result()
            except BrokenProcessPool:  # by this image or by one of those ahead: each is read alone, in a new process
                self._end()
                again = [waiting for waiting, _ in ahead]
                ahead.clear()
                yield from map(self._read_alone, again)
                continue
            ahead.popleft()
            yield answer

    def _submit(self, one: Wanted) -> Future[ReadImage | str]:
        try:
            return self._running().submit(_read, one, self._size)
        except BrokenProcessPool as error:
            failed: Future[ReadImage | str] = Future()
            failed.set_exception(error)
            return failed

    def _read_alone(self, one: Wanted) -> ReadImage | str:
        try:
            return self._running().submit(_read, one, self._size).result()
        except BrokenProcessPool:
            self._end()
            return "cannot be read as an image: the process that read it died: damaged, or too large for the memory"

    def _running(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a fork would take along threads that it does not have
            self._pool = ProcessPoolExecutor(self._count, context, initializer=_start, initargs=(os.getpid(),))
        return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _start(parent: int) -> None:
    """Of every process: it ends with the one that started it, killed or not, and leaves Ctrl-C to that one."""
    import signal
    import threading
    import time

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read(one: Wanted, size: ImageSize) -> ReadImage | str:
    try:
        return read_resized(one.path, one.annotated, size)
    except FileError as error:
        return str(error)
    except MemoryError:
        return "cannot be read as an image: not enough memory"
    except Exception as error:  # whatever it is, the other images are not concerned
        return f"cannot be read as an image: {error or type(error).__name__}"
