"""Whether this process was forked before it loaded the core, which notices later forks itself."""

from __future__ import annotations

import os
import sys

_was_forked = False


def watch() -> None:
    """Take note of forks from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_note)


def was_forked_without_core() -> bool:
    """Return whether this process is a child of one that had not loaded the core."""
    return _was_forked


def _note() -> None:
    global _was_forked
    _was_forked = _was_forked or f"{__package__}._core" not in sys.modules
