"""``python -m benchmarks.workers MODULE``: reads a request per line from stdin, writes a reply per line to stdout.

Requests and replies are JSON objects. Arrays are passed as files. A request has a "command":

- describe: return the versions of the implementation
- prepare: prepare a case and store it under a "key"; files contain the arrays
- answer: run the case once and write its arrays, for the given "rows" of the RoIs or for all
- time: return the mean seconds over this many "calls"
- release: delete all cases

A reply has "ok", or "unsupported" or "error" with a reason.
"""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import asdict
from types import ModuleType
from typing import Any

import numpy as np

from ..channel import Channel
from .timing import time_calls
from .work import Inputs, Work, load_array


class Server:
    """The cases of one implementation."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.works: dict[str, Work] = {}

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        handlers = {
            "describe": self.describe,
            "prepare": self.prepare,
            "answer": self.answer,
            "time": self.time,
            "release": self.release,
        }
        return {"ok": True, **handlers[request["command"]](request)}

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        del request
        return {"versions": self.module.versions()}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        self.works[request["key"]] = work = self.module.prepare(Inputs(request))
        return {"details": work.details}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        work = self.works[request["key"]]
        if work.select is not None:
            work.select()
        start = time.perf_counter()
        arrays = work.answer()
        seconds = time.perf_counter() - start
        paths = []
        for index, array in enumerate(arrays):
            chosen = array if request["rows"] is None else array[np.load(request["rows"])]
            paths.append(f"{request['to']}-{index}.npy")
            np.save(paths[-1], chosen.astype(np.promote_types(chosen.dtype, np.float32), copy=False))
        return {"paths": paths, "seconds": seconds}

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        return asdict(time_calls(self.works[request["key"]], request["calls"], warm=request["warm"]))

    def release(self, request: dict[str, Any]) -> dict[str, Any]:
        del request
        self.works.clear()
        load_array.cache_clear()
        return {}


def serve(name: str) -> None:
    """Answer requests. If the implementation cannot be imported, reply with the error."""
    servers: list[Server] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if not servers:
            servers.append(Server(importlib.import_module(f"benchmarks.workers.{name}")))
        return servers[0].reply(request)

    with Channel() as channel:
        channel.serve(answer)


if __name__ == "__main__":
    serve(sys.argv[1])
