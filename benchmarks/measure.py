"""Run the benchmark: for every group of cases, check the results, then time them in interleaved rounds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .cases import Case, group_cases
from .conformance import Oracle, conforms, largest_error, spared_share, tolerance_of
from .files import DataFiles
from .floor import CopyProbe, Footprint
from .peers import Entry, entries_of
from .pool import WorkerPool, without_paths
from .process import UnsupportedError, WorkerError
from .results import Floor, Measurement, Report
from .summary import calls_per_round, summarise
from .workloads import Workload, make_data

#: Receives a description of the current work and the share of the whole that is done.
Progress = Callable[[str, float], None]

#: Seconds to wait between two measurements, until the threads of the last one stop spinning (40 ms for onnxruntime).
PAUSE = 0.05


@dataclass(frozen=True)
class Settings:
    """How long to measure. An entry stops after its seconds and its minimum number of rounds."""

    rounds: int = 12
    seconds: float = 1.0
    fewest_rounds: int = 3
    slow: float = 1.5  # if a call takes this many seconds, one round is enough
    compared: int = 16_000_000  # for larger outputs, only some RoIs are checked

    def is_enough(self, item: Ready) -> bool:
        fewest = 1 if item.call_seconds > self.slow else self.fewest_rounds
        return len(item.walls) >= fewest and item.spent > self.seconds


@dataclass
class Ready:
    """An entry that gave the correct result, and its measurements."""

    measurement: Measurement
    key: str
    call_seconds: float
    calls: int
    walls: list[float] = field(default_factory=list)
    cpus: list[float | None] = field(default_factory=list)
    spent: float = 0.0


def measure(
    cases: list[Case], workers: WorkerPool, report: Report, settings: Settings, progress: Progress
) -> Iterator[Report]:
    """Fill a report group by group and yield it after each group, so that an interrupted run keeps its results."""
    probe = CopyProbe()
    copies: dict[int, list[float]] = {case.threads: [] for case in cases}
    peers = [peer for name, peer in workers.peers.items() if name not in workers.not_measured]
    for workload, members in group_cases(cases):
        entries = list(dict.fromkeys(entry for peer in peers for entry in entries_of(members, peer)))
        group = _Group(workload, entries, workers, settings, progress)
        ready = group.check()
        own_copies: dict[int, list[float]] = {case.threads: [] for case in members}
        group.run_rounds(ready, probe, own_copies)
        report.measurements += group.measurements
        report.floors += _floors(members, group.footprint, own_copies)
        for threads, values in own_copies.items():
            copies[threads] += values
        workers.release()
        report.bandwidth = {str(threads): float(np.median(values)) for threads, values in copies.items() if values}
        yield report


def _floors(members: list[Case], footprint: Footprint, copies: dict[int, list[float]]) -> list[Floor]:
    """Return the floor of every case for any layout: its bytes at the copy speed measured in the same rounds."""
    floors = []
    # Only for RoIAlign. The bytes that other operators read are not counted.
    means = [case for case in members if case.operator == "mean"]
    for case in dict.fromkeys(replace(case, layout="any") for case in means):
        size = footprint.compulsory_bytes(case)
        floors.append(Floor(case, size, 1e3 * size / float(np.median(copies[case.threads]))))
    return floors


def _expected_of(case: Case) -> tuple[str, ...]:
    return case.operator, case.direction, case.dtype, case.sampling


class _Group:
    """Measure the cases of one workload with all implementations."""

    def __init__(
        self, workload: Workload, entries: list[Entry], workers: WorkerPool, settings: Settings, progress: Progress
    ) -> None:
        self.workload, self.workers, self.settings, self.progress = workload, workers, settings, progress
        # Entries with the same expected result follow each other, so it is computed once and then released.
        self.entries = sorted(entries, key=lambda entry: _expected_of(entry.case))
        gradient = any(entry.case.direction != "forward" for entry in entries)
        self.data = make_data(workload, gradient=gradient)
        self.footprint = Footprint(workload, self.data)
        self.measurements: list[Measurement] = []

    def check(self) -> list[Ready]:
        """Prepare every entry and check its result. Return those that passed."""
        ready = []
        oracle = Oracle(self.workload, self.data, self.settings.compared)
        with tempfile.TemporaryDirectory(prefix="roialign-benchmark-") as folder:
            files = DataFiles(self.workload, self.data, Path(folder))
            for index, entry in enumerate(self.entries):
                self.progress(f"{self.workload.name}: {entry.peer} answers", 0.0)
                item = self._check_entry(entry, str(index), files, oracle)
                if item is not None:
                    ready.append(item)
                self.progress(f"{self.workload.name}: {entry.peer} answered", 0.5 / len(self.entries))
        return ready

    def _check_entry(self, entry: Entry, key: str, files: DataFiles, oracle: Oracle) -> Ready | None:
        measurement = Measurement(entry, "failed", tolerance=tolerance_of(entry.peer, entry.case))
        self.measurements.append(measurement)
        try:
            prepared = self.workers.request(entry.peer, "prepare", key=key, **files.request(entry))
            measurement.details = prepared["details"]
            rows = files.write_rows(oracle.rows(entry.case), entry.case)
            reply = self.workers.request(entry.peer, "answer", key=key, rows=rows, to=files.answer_prefix())
            answer = [np.load(path) for path in reply["paths"]]
            expected = oracle.expected(entry.case, self.workers.peers[entry.peer].channels)
            measurement.error = error = largest_error(answer, expected, spared_share(entry.case))
            if not conforms(error, tolerance_of(entry.peer, entry.case)):
                measurement.status, measurement.error = "wrong answer", error if np.isfinite(error) else None
                return None
            seconds = reply["seconds"]
            if seconds < 0.3:  # the first call is too slow to estimate a short one
                seconds = self.workers.request(entry.peer, "time", key=key, calls=1, warm=True)["wall"]
        except UnsupportedError as reason:
            measurement.status, measurement.note = "unsupported", str(reason)
            return None
        except WorkerError as reason:
            measurement.note = without_paths(str(reason))
            return None
        measurement.status = "measured"
        return Ready(measurement, key, seconds, calls_per_round(seconds))

    def run_rounds(self, ready: list[Ready], probe: CopyProbe, copies: dict[int, list[float]]) -> None:
        """Run every entry once per round, in a new random order. While one runs, the others are idle."""
        rng = np.random.default_rng(0)
        for number in range(self.settings.rounds):
            for threads, values in copies.items():
                values.append(probe.bandwidth(threads))
            self.progress(f"{self.workload.name}: round {number + 1} of {self.settings.rounds}", 0.0)
            for index in rng.permutation(len(ready)):
                item = ready[index]
                if item.measurement.status == "measured" and not self.settings.is_enough(item):
                    self._sample(item)
            self.progress("", 0.5 / self.settings.rounds)
        for item in ready:
            if item.measurement.status == "measured":
                item.measurement.summary = summarise(item.walls, item.cpus, item.calls)

    def _sample(self, item: Ready) -> None:
        time.sleep(PAUSE)
        start = time.perf_counter()
        try:
            reply = self.workers.request(
                item.measurement.entry.peer, "time", key=item.key, calls=item.calls, warm=item.call_seconds < 0.1
            )
        except WorkerError as reason:
            item.measurement.status, item.measurement.note = "failed", without_paths(str(reason))
            return
        item.walls.append(reply["wall"])
        item.cpus.append(reply["cpu"])
        item.spent += time.perf_counter() - start
