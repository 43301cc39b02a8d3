"""A worker of a run: ``python -m benchmarks.gpu.work KIND [ARGUMENT ...]`` lists its jobs and runs them.

The request ``{"command": "list"}`` returns the names of the jobs, and ``{"command": "run", "name": ...}`` runs one. The
reply to the latter has an "outcome" ("passed", "failed" or "skipped"), "notes" with the reasons, and the results in
"found". "is_broken" means that an error has broken the CUDA context, so the process cannot be used any more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ..channel import Channel, end_with_parent
from .device import IS_REHEARSAL


def is_broken() -> bool:
    """Whether the CUDA context of this process has a permanent error, for example after an invalid address."""
    import torch

    if not torch.cuda.is_available():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def serve_jobs(channel: Channel, jobs: dict[str, Callable[[], dict[str, Any]]]) -> None:
    """Jobs by name. Each returns a reply. An exception means that it failed."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "list":
            return {"names": list(jobs)}
        try:
            reply = jobs[request["name"]]()
        except Exception as reason:
            lines = str(reason).strip().splitlines() or [""]
            reply = {"outcome": "failed", "notes": [f"{type(reason).__name__}: {lines[0]}"]}
        return {"outcome": "passed", "notes": [], **reply, "is_broken": is_broken()}

    channel.serve(answer)


def main(arguments: list[str]) -> None:
    end_with_parent()
    kind, *rest = arguments
    with Channel() as channel, ExitStack() as stack:
        if kind == "tests":
            from .tested import serve_tests

            serve_tests(channel, rest)
            return
        if IS_REHEARSAL:
            from tests.triton.interpreter import quick

            from .rehearsal import fake_cuda

            fake_cuda()
            stack.enter_context(quick())
        from .jobs import JOBS

        serve_jobs(channel, JOBS[kind](*rest))


if __name__ == "__main__":
    main(sys.argv[1:])
