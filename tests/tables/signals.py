"""Processes that tests send signals to."""

from __future__ import annotations

import signal


def hear_interrupt() -> None:
    """Called in a new process, as `preexec_fn`: it hears Ctrl-C, which processes of background jobs ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
