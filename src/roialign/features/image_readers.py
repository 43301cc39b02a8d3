"""Processes that read images ahead, in order. A process that dies takes no other image with it."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from pathlib import Path
from typing import NamedTuple

from .._signals import leave_signals_to_parent, signals_held
from ..files.orientation import Annotated
from ..files.problems import FileError
from .backbone import ImageSize
from .images import ReadImage, read_resized

#: The number of images that each process reads ahead.
AHEAD = 4
SECONDS_TO_END = 5.0
#: What a process sends before it reads the first image.
READY = "ready"
#: A process begins with the user's script, which without a guard would call `run` again, and ends with an error there.
NOT_READY = (
    "readers: expected a process that reads images, got one that ended with exit code {} before the first: in a "
    'script, call run below if __name__ == "__main__":, or with readers=0, which starts no process'
)
DIED = "cannot be read as an image: the process that read it died; the image is damaged or too large for the memory"


class Wanted(NamedTuple):
    """An image to read."""

    path: Path
    annotated: Annotated | None
    """The size and the boxes according to its annotations."""


class Readers:
    """Reads images in `count` processes, or in this one if `count` is 0.

    A context manager. The processes end when it is left.
    """

    def __init__(self, count: int, size: ImageSize) -> None:
        self._size = size
        self._readers = [_Reader(size) for _ in range(count)]

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.end()

    @property
    def process_ids(self) -> list[int]:
        """The processes that are running."""
        return [reader.process.pid for reader in self._readers if reader.process is not None and reader.process.pid]

    def read(self, wanted: Iterable[Wanted]) -> Iterator[ReadImage | str]:
        """Yield each image in order, or the reason why it cannot be read."""
        if not self._readers:
            yield from (_read(one, self._size) for one in wanted)
            return
        images = iter(wanted)
        ahead: deque[_Reader] = deque()
        turn = 0
        while True:
            while len(ahead) < AHEAD * len(self._readers) and (one := next(images, None)) is not None:
                ahead.append(self._readers[turn % len(self._readers)])
                ahead[-1].ask(one)
                turn += 1
            if not ahead:
                return
            yield ahead.popleft().result()


class _Reader:
    """A process that reads images, with its own connection.

    The processes of a pool would share one pipe for their results. If one of them is killed while it writes, the pool
    waits forever for the rest of the result. With separate connections, the end of a process is detected.
    """

    def __init__(self, size: ImageSize) -> None:
        self._size = size
        self._asked: deque[Wanted] = deque()
        self._connection: Connection | None = None
        self._is_ready = False
        self.process: multiprocessing.process.BaseProcess | None = None
        self._at_exit: Finalize | None = None

    def ask(self, one: Wanted) -> None:
        """Request an image. Images are read in the order of the requests."""
        self._asked.append(one)
        self._send(one)

    def result(self) -> ReadImage | str:
        """Return the result of the oldest request.

        Raises
        ------
        RuntimeError
            If no process can be started.
        """
        one = self._asked.popleft()
        result = self._receive()
        if result is None:  # the process died, perhaps because of this image, so it is read again alone
            self._send(one)
            result = self._receive(again=True)
            if result is None:
                result = DIED
            for waiting in self._asked:
                self._send(waiting)
        return result

    def end(self) -> None:
        """End the process, and drop the open requests."""
        self._asked.clear()
        self._stop()

    def _send(self, one: Wanted) -> None:
        if self._connection is None:
            # A fork would copy locks held by threads that it does not copy.
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(theirs, self._size), daemon=True)
            with signals_held():
                self.process.start()
            # At exit, Python would wait for a process that was not ended, and that ignores the SIGTERM it gets then.
            self._at_exit = Finalize(None, self.process.kill, exitpriority=0)
            theirs.close()  # so that the connection ends with the process
            self._is_ready = False
        with suppress(OSError):  # a dead process is detected when its result is received
            self._connection.send(one)

    def _receive(self, *, again: bool = False) -> ReadImage | str | None:
        """Return the next result, or None if the process has died. `again` says whether another one has, before it.

        Raises
        ------
        RuntimeError
            If the process has ended before it was ready, unless a signal has ended it for the first time.
        """
        assert self._connection is not None
        assert self.process is not None
        try:
            if not self._is_ready:
                self._is_ready = self._connection.recv() == READY
            result: ReadImage | str = self._connection.recv()
        except (EOFError, OSError):
            process = self.process
            self._stop()
            if not self._is_ready and (again or (process.exitcode or 0) >= 0):
                raise RuntimeError(NOT_READY.format(process.exitcode)) from None
            return None
        return result

    def _stop(self) -> None:
        if self._connection is not None and self.process is not None:
            self._connection.close()  # the process ends when it sees this
            self.process.join(SECONDS_TO_END)
            self.process.kill()
            self.process.join()
            if self._at_exit is not None:
                self._at_exit.cancel()
            self._connection = self.process = None


def _serve(connection: Connection, size: ImageSize) -> None:
    """Read images until the other end of the connection is closed, also if the main process was killed."""
    import os
    import queue
    import threading

    leave_signals_to_parent()
    asked: queue.SimpleQueue[Wanted] = queue.SimpleQueue()

    def listen() -> None:  # in a thread, so that the two processes never block each other while both send
        try:
            while True:
                asked.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    with suppress(OSError):
        connection.send(READY)
        while True:
            connection.send(_read(asked.get(), size))


def _read(one: Wanted, size: ImageSize) -> ReadImage | str:
    try:
        return read_resized(one.path, one.annotated, size)
    except FileError as error:
        return str(error)
    except MemoryError:
        return "cannot be read as an image: not enough memory"
    except Exception as error:  # an error in one image must not stop the others
        return f"cannot be read as an image: {error or type(error).__name__}"
