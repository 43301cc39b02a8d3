"""The worker processes of a run. They start when first needed, and restart after a crash."""

from __future__ import annotations

import re
from typing import Any

from .peers import OURS, Peer
from .process import Worker, WorkerError


class WorkerPool:
    """One process per implementation."""

    def __init__(self, peers: list[Peer], isa: str | None = None) -> None:
        self.peers = {peer.name: peer for peer in peers}
        self.environment = {OURS: {"ROIALIGN_ISA": isa}} if isa else {}
        self.workers: dict[str, Worker] = {}
        self.versions: dict[str, str] = {}
        self.not_measured: dict[str, str] = {}

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *reason: object) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def start(self) -> None:
        """Ask every implementation for its version. Those that fail are listed as not measured."""
        for name in self.peers:
            try:
                found: dict[str, str] = self.get(name).request("describe")["versions"]
                # If several have the same dependency, keep the version of each.
                self.versions |= {
                    key if key not in self.versions else f"{name}: {key}": value
                    for key, value in found.items()
                    if self.versions.get(key) != value
                }
            except WorkerError as reason:
                self.not_measured[name] = without_paths(str(reason))
            if name == OURS and name in self.not_measured:
                raise WorkerError(f"{OURS} does not run: {self.not_measured[name]}")

    def get(self, name: str) -> Worker:
        """Return the process of an implementation, and start it if needed."""
        worker = self.workers.get(name)
        if worker is not None and worker.alive:
            return worker
        if worker is not None:
            worker.close()
        peer = self.peers[name]
        python = peer.python()
        if python is None:
            raise WorkerError(f"{peer.environment} names no environment")
        try:
            command = [python, "-m", "benchmarks.workers", peer.worker]
            self.workers[name] = Worker(command, environment=self.environment.get(name, {}))
        except OSError as reason:
            raise WorkerError(f"its interpreter does not start: {reason.strerror}") from None
        return self.workers[name]

    def request(self, name: str, command: str, **fields: Any) -> dict[str, Any]:
        return self.get(name).request(command, **fields)

    def release(self) -> None:
        """Tell every running worker to release its cases."""
        for worker in self.workers.values():
            if worker.alive:
                worker.request("release")


def without_paths(text: str) -> str:
    """Remove the folders of absolute paths from a message, because they are specific to one machine."""
    return re.sub(r"(?<![\w.])/(?:[^\s/'\":]+/)+", "", text)
