"""The processes that load training images."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest

from roialign.detection import DetectorSettings, TrainSettings
from roialign.detection.training.data import Drawn, Stream, batches

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals between processes")


class _Stuck(Stream):
    """Never returns an item. Sends a text at the start, and the name of every signal that did not end the process."""

    def __init__(self, told: Connection) -> None:
        self.settings = TrainSettings(DetectorSettings(classes=("cat",)), iterations=1, batch_size=1)
        self._told = told

    def __getitem__(self, place: int) -> Drawn:
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno())  # gets a byte for every signal that has a handler
        self._told.send("waiting")
        while True:
            self._told.send(signal.Signals(reader.recv(1)[0]).name)


def test_a_stuck_worker_ignores_the_first_sigterm_and_ends_at_the_second() -> None:
    """The first may be that of a cluster scheduler, and the main process saves. The second is that of PyTorch."""
    heard, told = multiprocessing.Pipe(duplex=False)
    before = set(multiprocessing.active_children())
    loaded = batches(_Stuck(told), 0, workers=1)
    (worker,) = set(multiprocessing.active_children()) - before
    try:
        assert heard.poll(30)
        assert heard.recv() == "waiting"
        worker.terminate()
        assert heard.poll(30)
        assert heard.recv() == "SIGTERM"
        assert worker.is_alive()
        with suppress(RuntimeError):  # PyTorch may raise it when a worker ends
            worker.terminate()
            worker.join(30)
        worker.join(30)
        assert worker.exitcode == -signal.SIGTERM
    finally:
        worker.kill()
        del loaded
