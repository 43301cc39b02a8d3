"""Ctrl-C and SIGTERM, which terminals and schedulers send to a process or to it and all processes that it started."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_HELD = (signal.SIGINT, signal.SIGTERM)


class Terminated(SystemExit):
    """SIGTERM was received. The process ends with exit code 143 after it has cleaned up, as after Ctrl-C."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def clean_up_when_terminated() -> None:
    """Raise :class:`Terminated` at the first SIGTERM. The next one ends the process at once.

    If the process was started to ignore SIGTERM, it still does.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        raise Terminated

    if _may_set_handlers() and not is_ignored(signal.SIGTERM):
        signal.signal(signal.SIGTERM, stop)


def is_ignored(number: int) -> bool:
    """Whether the process was started to ignore a signal, as by `nohup` or in the background of a script."""
    return signal.getsignal(number) == signal.SIG_IGN


def is_one_of_several() -> bool:
    """Whether a launcher such as `torchrun` started this process with others, which work together."""
    count = os.environ.get("WORLD_SIZE", "")
    return count.isdecimal() and int(count) > 1


@contextmanager
def sigterm_handler_kept() -> Iterator[None]:
    """Set the handler of SIGTERM again, unless it is the default, after a package may have set another."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before not in (None, signal.SIG_DFL) and _may_set_handlers():  # None: it was not set in Python
            signal.signal(signal.SIGTERM, before)


def _may_set_handlers() -> bool:
    """Whether this is the main thread."""
    return threading.current_thread() is threading.main_thread()


def leave_signals_to_parent() -> None:
    """Ignore Ctrl-C and the first SIGTERM in a process started by another, which gets them too and handles them.

    The next SIGTERM ends the process, so that a stuck one does not keep the other from exiting.
    """

    def ignore_once(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, ignore_once)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


@contextmanager
def signals_held() -> Iterator[None]:
    """Delay signals while a process is started, also in this process, until it calls :func:`leave_signals_to_parent`.

    Otherwise, Ctrl-C would end it with a traceback while it imports its modules.
    """
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start would end the delay
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
