"""Processes that read images ahead, in order. A process that dies takes no other image with it."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from ..files.orientation import Annotated
from ..files.problems import FileError
from .backbone import ImageSize
from .images import ReadImage, read_resized

#: The largest number of images that each process is ahead.
AHEAD = 4
SECONDS_TO_END = 5.0
DIED = "cannot be read as an image: the process that read it died: damaged, or too large for the memory"


class Wanted(NamedTuple):
    """An image to read."""

    path: Path
    annotated: Annotated | None
    """What its boxes say about its size and orientation."""


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
        """Every image in its order, or why it cannot be read."""
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
            yield ahead.popleft().answer()


class _Reader:
    """A process that reads images, with a connection of its own.

    A pool of processes would share a pipe for their answers. If one is killed while it writes, the pool waits for the
    rest of the answer for ever; the end of a connection that nobody else holds is seen.
    """

    def __init__(self, size: ImageSize) -> None:
        self._size = size
        self._asked: deque[Wanted] = deque()
        self._connection: Connection | None = None
        self.process: multiprocessing.process.BaseProcess | None = None

    def ask(self, one: Wanted) -> None:
        """Have an image read after those that were asked for before."""
        self._asked.append(one)
        self._send(one)

    def answer(self) -> ReadImage | str:
        """The image that was asked for first."""
        one = self._asked.popleft()
        answer = self._receive()
        if answer is None:  # the process died, of this image or for another reason: the image is read alone
            self._send(one)
            answer = self._receive()
            if answer is None:
                answer = DIED
            for waiting in self._asked:
                self._send(waiting)
        return answer

    def end(self) -> None:
        """End the process, and forget what it was asked."""
        self._asked.clear()
        self._stop()

    def _send(self, one: Wanted) -> None:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")  # a fork would copy locks of threads that it does not have
            self._connection, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(theirs, self._size), daemon=True)
            self.process.start()
            theirs.close()  # so that the connection ends with the process
        with suppress(OSError):  # a process that has died is noticed when its answer is received
            self._connection.send(one)

    def _receive(self) -> ReadImage | str | None:
        """The next answer, or None if the process has died."""
        assert self._connection is not None
        try:
            answer: ReadImage | str = self._connection.recv()
        except (EOFError, OSError):
            self._stop()
            return None
        return answer

    def _stop(self) -> None:
        if self._connection is not None and self.process is not None:
            self._connection.close()  # the process ends when it sees this
            self.process.join(SECONDS_TO_END)
            self.process.kill()
            self.process.join()
            self._connection = self.process = None


def _serve(connection: Connection, size: ImageSize) -> None:
    """Run by every process: answer until the other end is closed, be it that the main process was killed."""
    import os
    import queue
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process
    asked: queue.SimpleQueue[Wanted] = queue.SimpleQueue()

    def listen() -> None:  # in a thread, so that the main process never waits to ask while this one waits to answer
        try:
            while True:
                asked.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    with suppress(OSError):
        while True:
            connection.send(_read(asked.get(), size))


def _read(one: Wanted, size: ImageSize) -> ReadImage | str:
    try:
        return read_resized(one.path, one.annotated, size)
    except FileError as error:
        return str(error)
    except MemoryError:
        return "cannot be read as an image: not enough memory"
    except Exception as error:  # whatever it is, the other images are not concerned
        return f"cannot be read as an image: {error or type(error).__name__}"
