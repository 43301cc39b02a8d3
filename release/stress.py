"""Many Python threads at all that the process has once, from the first call on: what free-threaded Python asks for.

    python -I release/stress.py [seconds]

Once per process are: the choice of the instruction set, the number of threads, the pool of threads, the pages that
answers leave to the next ones, the remembered settings, specifications and backends, and the memory of what was warned
of. Threads wait for each other, and then all make their first call at the same moment; from then on they call, change
the number of threads, keep and drop large answers, and warn. Every answer must have the bits that one thread alone
gets.
"""

from __future__ import annotations

import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np

import roialign

THREADS = 8
Array = np.ndarray


def calls() -> list[Callable[[], list[Array]]]:
    """Calls of both families, forward and backward, and one whose answer is large enough for the kept pages."""
    random = np.random.default_rng(3)
    features = random.standard_normal((1, 16, 20, 30)).astype(np.float32)
    corners = random.uniform(0, 12, (40, 2))
    sizes = random.uniform(1, 15, (40, 2))
    boxes = np.concatenate([np.zeros((40, 1)), corners, corners + sizes], axis=1)
    rotated = np.concatenate([np.zeros((40, 1)), corners + 5, sizes, random.uniform(-90, 90, (40, 1))], axis=1)
    wide = random.standard_normal((1, 256, 12, 12)).astype(np.float32)
    many = np.repeat(boxes[:1], 100, axis=0)
    outside = np.array([[0, 900.0, 900.0, 950.0, 950.0]])
    gradient = random.standard_normal((40, 16, 4, 4)).astype(np.float32)

    def backward() -> list[Array]:
        return list(roialign.roi_align_backward(gradient, features, boxes, sampling="exact"))

    return [
        lambda: [roialign.roi_align(features, boxes, 4, sampling="exact")],
        backward,
        lambda: [roialign.roi_align(features, boxes, 4, mode="max", sampling_ratio=2)],
        lambda: [roialign.roi_align_rotated(features, rotated, 4, sampling_ratio=2)],
        lambda: [roialign.roi_align(wide, many, 7)],  # 5 MB
        lambda: [roialign.roi_align(features, outside, 4)],  # warns
    ]


class Team:
    """The threads, and what went wrong in the first of them that failed."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.start = threading.Barrier(THREADS)
        self.work = calls()
        self.first: list[list[list[Array]]] = []
        self.errors: list[BaseException] = []
        self.count = 0
        self.lock = threading.Lock()

    def run(self) -> None:
        threads = [threading.Thread(target=self.guarded, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def guarded(self, number: int) -> None:
        try:
            self.member(number)
        except BaseException as error:
            self.errors.append(error)
            self.start.abort()

    def member(self, number: int) -> None:
        random = np.random.default_rng(number)
        self.start.wait()
        end = time.monotonic() + self.seconds
        answers = [self.work[(index + number) % len(self.work)]() for index in range(len(self.work))]
        answers = answers[-number % len(answers) :] + answers[: -number % len(answers)]  # in the order of the calls
        with self.lock:
            self.first.append(answers)
        kept: list[tuple[int, list[Array]]] = []
        count = 0
        while time.monotonic() < end and not self.errors:
            which = int(random.integers(len(self.work)))
            if random.integers(4) == 0:
                roialign.set_num_threads(int(random.integers(1, 5)))
            kept.append((which, self.work[which]()))
            if len(kept) > 6:  # an answer must not change while others come and go
                which, answer = kept.pop(int(random.integers(len(kept))))
                assert_same(answer, answers[which], which)
            count += 1
        for which, answer in kept:
            assert_same(answer, answers[which], which)
        with self.lock:
            self.count += count


def assert_same(found: list[Array], expected: list[Array], which: int) -> None:
    for one, other in zip(found, expected, strict=True):
        if one.tobytes() != other.tobytes():
            raise AssertionError(f"call {which}: other bits than before")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    warnings.simplefilter("ignore", roialign.RoIWarning)
    team = Team(seconds)
    team.run()
    roialign.set_num_threads(1)
    alone = [call() for call in team.work]
    for answers in team.first:
        for which, answer in enumerate(answers):
            assert_same(answer, alone[which], which)
    is_free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if is_free and sys._is_gil_enabled():
        raise AssertionError(
            "this Python is free-threaded, and the import of roialign or NumPy has switched the GIL on"
        )
    print(f"{team.count} calls from {THREADS} threads {'without' if is_free else 'with'} a GIL: the same bits in all")


if __name__ == "__main__":
    main()
