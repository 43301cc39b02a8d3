"""The workers of a run: started when first needed, started anew when they died."""

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
        """Asks every implementation for its version; one that cannot answer is named as not measured."""
        for name in self.peers:
            try:
                found: dict[str, str] = self.get(name).request("describe")["versions"]
                # Of what several of them are built on, each one's own.
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
        """The process of an implementation."""
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
        """Lets every living worker forget its cases."""
        for worker in self.workers.values():
            if worker.alive:
                worker.request("release")


def without_paths(text: str) -> str:
    """A message with the folders of absolute paths left out: they tell of one machine only."""
    return re.sub(r"(?<![\w.])/(?:[^\s/'\":]+/)+", "", text)
