"""The parent's side of a worker: a process that answers one request at a time, with a time limit."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Seconds for a process to end after it has closed its output.
LAST_WORDS = 10.0
#: Seconds for a killed process to end. A process that is stuck in a driver may never do so.
AFTER_KILL = 10.0


class WorkerError(Exception):
    """A worker failed, crashed or took too long."""


class SlowWorkerError(WorkerError):
    """A worker took too long and was killed."""


class UnsupportedError(WorkerError):
    """A worker reported that this machine does not support the request."""


class Worker:
    """A process that answers requests one at a time and is idle in between. `limit` is in seconds per request."""

    def __init__(self, command: Sequence[str], *, limit: float = 300.0, environment: Mapping[str, str] = {}) -> None:
        self.limit = limit
        self.is_stuck = False  # has not ended although it was killed
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in `close`
        try:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
            )
        except OSError:
            self.errors.close()
            raise
        self.pending = b""

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def request(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        assert self.process.stdin is not None
        line = json.dumps({"command": command, **fields}) + "\n"
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
            reply: dict[str, Any] = json.loads(self._read_line())
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        if "unsupported" in reply:
            raise UnsupportedError(reply["unsupported"])
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def close(self, seconds: float = 10.0) -> int:
        """Close the input of the process, kill it if it does not end, and return its exit code.

        A process that does not end even then is left behind, and has the code of a killed one.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
            code = self.process.wait(timeout=0 if self.is_stuck else seconds)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            code = self._kill()
        self.process.stdout.close()
        self.errors.close()
        return code

    def _read_line(self) -> bytes:
        assert self.process.stdout is not None
        stream = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            if not select.select([stream], [], [], self.limit)[0]:
                self._kill()
                raise SlowWorkerError(f"no answer within {self.limit:.0f} seconds")
            chunk = os.read(stream, 65536)
            if not chunk:
                raise WorkerError(self._last_words())
            self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        return line

    def said(self) -> list[str]:
        """Return the lines that the process has written to standard error so far."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip().splitlines()

    def _last_words(self) -> str:
        try:
            end = f"ended with code {self.process.wait(timeout=LAST_WORDS)}"
        except subprocess.TimeoutExpired:
            self._kill()
            end = f"closed its output and was killed {LAST_WORDS:.0f} seconds later"
        return f"the process {end}: {(self.said() or ['no message'])[-1]}"

    def _kill(self) -> int:
        """Kill the process and return its exit code. Do not wait for long."""
        self.process.kill()
        try:
            return self.process.wait(timeout=0 if self.is_stuck else AFTER_KILL)
        except subprocess.TimeoutExpired:
            self.is_stuck = True
            return -signal.SIGKILL
