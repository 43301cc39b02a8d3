"""The worker's side of :mod:`benchmarks.process`: reads requests and writes replies, one JSON object per line."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from .workers.work import UnsupportedError


class Channel:
    """While open, replies go to standard output, and everything that libraries print goes to standard error."""

    def __enter__(self) -> Channel:
        self.replies = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.replies.close()

    def serve(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Answer requests until standard input ends."""
        for line in sys.stdin:
            try:
                reply = {"ok": True, **answer(json.loads(line))}
            except UnsupportedError as reason:
                reply = {"unsupported": str(reason)}
            except Exception as reason:  # boundary of the process: report every error to the parent
                reply = {"error": f"{type(reason).__name__}: {reason}"}
            self.replies.write(json.dumps(reply) + "\n")


def end_with_parent(seconds: float = 1.0) -> None:
    """End this process soon after its parent has ended, even if this process hangs."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
