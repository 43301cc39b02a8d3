"""The same bits on every run, with every number of threads, in every process; and threads that really run."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import roialign
from roialign import _core
from roialign._regions import Regions
from roialign._spec import SeparableSpec
from roialign.numpy.cpu import separable as cpu
from tests.tables.cases import CROP_FILL, PRROI, Array, Case, roi_align_spec
from tests.tables.layouts import BY_NAME as LAYOUT
from tests.tables.python import run_python
from tests.tables.tolerances import assert_same_bits

THREADS = (1, 2, 3, 8)
SOME_KINDS = ("inside", "border", "covering", "inverted", "tiny", "edges", "large")
SPECS = {
    "grid": roi_align_spec(),
    "random": roi_align_spec("random", (2, 3)),
    "exact": roi_align_spec("exact"),
    "prroi": PRROI,
    "crop": CROP_FILL,
}

Results = list[Array]


def work(spec: SeparableSpec, dtype: Any, layout: str, channels: int = 24) -> Callable[[], Results]:
    """A call of all three functions on a pyramid with enough RoIs to share out, as a function of nothing."""
    maps = ((24, 30), (12, 15))
    case = Case("work", "", spec, maps, (0.25, 0.125), 2, channels, (7, 7), SOME_KINDS, boxes_per_kind=12)
    inputs, place = case.draw(), LAYOUT[layout]
    features = [place.of(level, dtype) for level in inputs.features]
    gradient = place.of(inputs.grad_output, dtype)
    common: Any = (case.scales, inputs.rois, inputs.levels)

    def run() -> Results:
        _, out = place.buffer(gradient.shape, dtype)
        cpu.forward(spec, features, Regions(*common), out)
        grad_features = [place.buffer(level.shape, dtype)[1] for level in features]
        cpu.adjoint_features(spec, gradient, (), Regions(*common), grad_features)
        return [out, *grad_features, cpu.adjoint_geometry(spec, gradient, features, Regions(*common)).boxes]

    return run


def assert_same_results(answers: Results, right: Results, what: str) -> None:
    for answer, wanted in zip(answers, right, strict=True):
        assert_same_bits(answer, wanted, what)


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "sliced", "columns first"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.usefixtures("threads")
def test_the_same_bits_for_every_number_of_threads_and_on_every_run(
    spec: SeparableSpec, dtype: Any, layout: str
) -> None:
    run = work(spec, dtype, layout)
    roialign.set_num_threads(1)
    right = run()
    for count in THREADS:
        roialign.set_num_threads(count)
        for _ in range(2):
            assert_same_results(run(), right, f"{count} threads")


@pytest.mark.usefixtures("threads")
def test_the_answer_of_a_roi_does_not_depend_on_the_others() -> None:
    """Alone, or among others in any order."""
    features = np.random.default_rng(3).standard_normal((1, 20, 24, 30)).astype(np.float32)
    rng = np.random.default_rng(4)
    rois = np.column_stack([np.zeros(40), rng.uniform(-4, 30, (40, 4))])
    order = rng.permutation(40)
    for sampling in ("grid", "exact"):
        together = roialign.roi_align(features, rois, 7, sampling=sampling)
        assert_same_bits(roialign.roi_align(features, rois[order], 7, sampling=sampling), together[order])
        for row in range(0, 40, 7):
            alone = roialign.roi_align(features, rois[row : row + 1], 7, sampling=sampling)
            assert_same_bits(alone, together[row : row + 1])


# Threads that run


def long_call(boxes: int) -> Callable[[], Any]:
    """Work for a good while: every box covers a wide map."""
    features = np.ones((1, 64, 100, 100), dtype=np.float32)
    rois = np.tile(np.array([[0, 1.0, 1.0, 99.0, 99.0]]), (boxes, 1))
    return lambda: roialign.roi_align(features, rois, 14, 1.0, sampling="exact")


def assert_soon(condition: Callable[[], bool], what: str) -> None:
    """On a busy machine a worker may come too late for a call: within some calls it does not."""
    for _ in range(50):
        if condition():
            return
    raise AssertionError(what)


@pytest.mark.usefixtures("threads")
def test_two_workers_take_part_in_one_call() -> None:
    roialign.set_num_threads(2)
    call, run = long_call(300), work(SPECS["grid"], np.float32, "nchw", channels=256)

    def two_in_forward() -> bool:
        call()
        return bool(_core.last_worker_count() == 2)

    assert_soon(two_in_forward, "two workers in forward")
    assert_soon(lambda: len(run()) == 4 and _core.last_worker_count() == 2, "two workers in adjoint_boxes")


@pytest.mark.usefixtures("threads")
def test_two_workers_take_part_in_the_gradient_of_the_features() -> None:
    roialign.set_num_threads(2)
    rois = np.tile(np.array([[0, 1.0, 1.0, 99.0, 99.0]]), (100, 1))
    regions = Regions([1.0], rois, np.zeros(100, np.int64))
    gradient, grad_features = np.ones((100, 64, 14, 14), np.float32), [np.empty((1, 64, 100, 100), np.float32)]

    def two() -> bool:
        cpu.adjoint_features(SPECS["exact"], gradient, (), regions, grad_features)
        return bool(_core.last_worker_count() == 2)

    assert_soon(two, "two workers in adjoint_features")


@pytest.mark.usefixtures("threads")
def test_one_worker_where_one_thread_is_set() -> None:
    roialign.set_num_threads(1)
    long_call(50)()
    assert _core.last_worker_count() == 1


@pytest.mark.usefixtures("threads")
def test_several_python_threads_at_once_get_the_same_bits() -> None:
    roialign.set_num_threads(2)
    runs = {name: work(spec, np.float32, "nhwc") for name, spec in SPECS.items()}
    right = {name: run() for name, run in runs.items()}
    names = list(runs) * 6
    with ThreadPoolExecutor(6) as pool:
        for name, answers in zip(names, pool.map(lambda name: runs[name](), names), strict=True):
            assert_same_results(answers, right[name], name)


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_may_change_while_calls_run() -> None:
    run = work(SPECS["grid"], np.float32, "nchw")
    right = run()
    with ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(run) for _ in range(30)]
        for count in itertools.cycle([1, 16, 2, 5]):
            roialign.set_num_threads(count)
            if all(answer.done() for answer in pending):
                break
        for answer in pending:
            assert_same_results(answer.result(), right, "while the number of threads changes")


def ticks_during(call: Callable[[], Any]) -> tuple[int, float]:
    """How often another Python thread gets to run during a call, and how long the call takes."""
    ticks, done = [0], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks[0] += 1
            time.sleep(0.001)

    other = threading.Thread(target=tick)
    other.start()
    try:
        time.sleep(0.01)
        before, begin = ticks[0], time.perf_counter()
        call()
        return ticks[0] - before, time.perf_counter() - begin
    finally:
        done.set()
        other.join()


def long_enough(make: Callable[[int], Callable[[], Any]], amount: int) -> tuple[int, float]:
    """Ticks during the first call, of ever more work, that takes a quarter of a second."""
    while True:
        ticks, seconds = ticks_during(make(amount))
        if seconds > 0.25:
            return ticks, seconds
        amount *= 2


@pytest.mark.usefixtures("threads")
def test_other_python_threads_run_during_a_call() -> None:
    roialign.set_num_threads(1)
    ticks, seconds = long_enough(long_call, 200)
    assert ticks >= 10, f"{ticks} ticks in {seconds:.2f} s"


def test_the_check_of_other_threads_can_fail() -> None:
    """An integer power is one long instruction that holds the interpreter."""
    ticks, seconds = long_enough(lambda amount: lambda: 3**amount, 500_000)
    assert ticks < 10, f"{ticks} ticks in {seconds:.2f} s"


# Processes

PREPARE = """
import multiprocessing, os, sys
import numpy as np, roialign
roialign.set_num_threads(2)
rng = np.random.default_rng(0)
FEATURES = rng.standard_normal((1, 32, 40, 50)).astype(np.float32)
ROIS = np.column_stack([np.zeros(100), rng.uniform(-5, 45, (100, 4))])

def answer():
    pooled = roialign.roi_align(FEATURES, ROIS, 7)
    gradients = roialign.roi_align_backward(pooled, FEATURES, ROIS)
    return b"".join(array.tobytes() for array in (pooled, *gradients))
"""


@pytest.mark.unsanitized
def test_a_forked_child_computes_the_same_bits() -> None:
    """Also a child's child, and children that the parent forks while its own threads work."""
    run_python(
        PREPARE
        + """
right = answer()

def child(depth):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if depth:
                child(depth - 1)
            code = 0 if answer() == right and roialign.get_num_threads() == 2 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

child(1)
assert answer() == right
import threading
stop = threading.Event()
busy = threading.Thread(target=lambda: [answer() for _ in iter(stop.is_set, True)])
busy.start()
for _ in range(5):
    child(0)
stop.set()
busy.join()
"""
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_workers_compute_the_same_bits(method: str, tmp_path: Any) -> None:
    """As data loaders do: the parent has used its threads already."""
    script = tmp_path / "workers.py"
    script.write_text(
        PREPARE
        + f"""
def same(right):
    return answer() == right

if __name__ == "__main__":
    right = answer()
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(same, [right] * 4) == [True] * 4
"""
    )
    run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")


@pytest.mark.unsanitized
def test_a_call_works_without_the_threads_that_it_wants() -> None:
    """If the system gives none, as in a container that limits them, the caller does all the work."""
    run_python(
        PREPARE
        + """
import resource
from roialign import _core
roialign.set_num_threads(1)
right = answer()
roialign.set_num_threads(2)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))  # a thread's stack takes 8 MiB
assert answer() == right
assert _core.last_worker_count() == 1
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert answer() == right
assert _core.last_worker_count() <= 2
"""
    )


def test_a_process_ends_while_its_threads_sleep() -> None:
    """Neither the pool nor a Python thread that used it holds the interpreter up."""
    run_python(
        PREPARE
        + """
import threading
for _ in range(3):
    thread = threading.Thread(target=answer)
    thread.start()
    thread.join()
answer()
"""
    )
