"""A worker of a run: ``python -m benchmarks.gpu.work KIND [ARGUMENT ...]`` says what there is to do, and does it.

A request is ``{"command": "list"}``, for the names, or ``{"command": "run", "name": ...}``. A reply of the second kind
has an "outcome", "passed", "failed" or "skipped"; "notes" that say why; what was "found"; and "is_broken" where the
process, whose CUDA context an error has spoilt, is of no more use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ..channel import Channel, end_with_parent
from .device import IS_REHEARSAL


def is_broken() -> bool:
    """Whether the CUDA context of this process has had an error that stays, as of an address that is no good."""
    import torch

    if not torch.cuda.is_available():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def serve_jobs(channel: Channel, jobs: dict[str, Callable[[], dict[str, Any]]]) -> None:
    """Jobs by their names. Each gives a reply; an error fails it."""

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
