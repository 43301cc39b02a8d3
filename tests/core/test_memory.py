"""What a call takes beside its input and its output, for every thread that works on it."""

from __future__ import annotations

import gc
import mmap
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from roialign import _memory
from roialign._memory import HUGE_PAGE_BYTES, POOLED_BYTES, MemoryPool, empty, pool
from tests.tables.python import run_python

MEASURE = """
import re
import numpy as np, roialign
from roialign.numpy.cpu import separable as cpu
from roialign._regions import Regions
from roialign.ops.roi_align import roi_align_spec

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

roialign.set_num_threads(1)
rng = np.random.default_rng(0)
spec = roi_align_spec(0, True, "avg", {sampling!r})
size = (1, 256, 200, 240) if {layout!r} == "NCHW" else (1, 200, 240, 256)
bins = (600, 256, 7, 7) if {layout!r} == "NCHW" else (600, 7, 7, 256)
seen = (lambda array: array) if {layout!r} == "NCHW" else (lambda array: array.transpose(0, 3, 1, 2))
features, pooled, gradient = (np.ones(shape, np.float32) for shape in (size, bins, size))
start = rng.uniform(0, 160, (600, 2))
rois = np.column_stack([np.zeros(600), start, start + rng.uniform(4, 40, (600, 2))])
levels = np.zeros(600, np.int64)
regions = Regions([1.0], rois, levels)
few = Regions([1.0], rois[:9], levels[:9])
cpu.forward(spec, [seen(features)[:, :8]], few, seen(pooled)[:9, :8].copy())  # loads the core
calls = {{
    "forward": lambda: cpu.forward(spec, [seen(features)], regions, seen(pooled)),
    "features": lambda: cpu.adjoint_features(spec, seen(pooled), (), regions, [seen(gradient)]),
    "boxes": lambda: cpu.adjoint_geometry(spec, seen(pooled), [seen(features)], regions),
}}
before = kilobytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
calls[{call!r}]()
extra, whole = kilobytes("VmHWM") - before, (features.nbytes + pooled.nbytes) / 1024
assert extra <= {share} * whole, f"{{extra / whole:.1%}} of input and output"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("call", ["forward", "features", "boxes"])
@pytest.mark.parametrize("sampling", ["grid", "exact"])
@pytest.mark.unsanitized
def test_a_call_takes_little_beside_its_input_and_output(call: str, layout: str, sampling: str) -> None:
    run_python(MEASURE.format(call=call, layout=layout, sampling=sampling, share=0.1))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_the_measure_of_memory_can_fail() -> None:
    with pytest.raises(AssertionError, match="of input and output"):
        run_python(MEASURE.format(call="forward", layout="NCHW", sampling="grid", share=1e-6))


POINTS = """
import re
import numpy as np
import roialign

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

features = np.random.default_rng(0).random((1, 24, 1024, 1024), dtype=np.float32)
boxes, turned = np.array([[0, 8.0, 8.0, 1000.0, 1000.0]]), np.array([[0, 512.0, 512.0, 900.0, 700.0, 30.0]])
gradient = np.ones((1, 24, 7, 7), np.float32)
calls = [
    lambda: roialign.roi_align_rotated(features, turned, 7, 1.0, 2),
    lambda: roialign.roi_align_rotated_backward(gradient, features, turned, 1.0, 2, need="rois"),
    lambda: roialign.roi_align(features, boxes, 7, 1.0, 2, mode="max"),
    lambda: roialign.roi_align_backward(gradient, features, boxes, 1.0, 2, mode="max", need="rois"),
    lambda: roialign.roi_pool(features, boxes, 7),
]
for call in calls:
    before = kilobytes("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    call()
    extra = kilobytes("VmHWM") - before
    assert extra < 0.1 * features.nbytes / 1024, f"{extra} KB"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.unsanitized
def test_a_large_roi_of_few_points_takes_little() -> None:
    """Of a planar map, only the pixels of the points are copied, not all between them."""
    run_python(POINTS)


BACKWARD = """
import re
import torch
from roialign.torch import MultiScaleRoIAlign

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

one = torch.ones(1, requires_grad=True)
torch.autograd.grad(one * one, one, one)  # the first gradient that torch is given makes it import 38 MB of sympy
maps = [torch.ones(1, 256, h, w, requires_grad=True) for h, w in ((200, 336), (100, 168), (50, 84), (25, 42))]
generator = torch.Generator().manual_seed(0)
start, side = torch.rand(512, 2, generator=generator) * 800, 16 + 584 * torch.rand(512, 1, generator=generator) ** 3
rois = torch.cat([torch.zeros(512, 1), start, start + side], 1)
pooled = MultiScaleRoIAlign(7, [1 / 4, 1 / 8, 1 / 16, 1 / 32], 2)(maps, rois)
gradient = torch.ones_like(pooled)
before = kilobytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
pooled.backward(gradient)
extra, maps_alone = kilobytes("VmHWM") - before, sum(level.grad.nbytes for level in maps) / 1024
assert maps_alone <= extra <= {share} * maps_alone, f"{{extra / maps_alone:.3f}} of the gradient's maps"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.unsanitized
def test_the_first_backward_of_a_process_takes_little_beside_its_gradient() -> None:
    """A detector in training: 512 boxes on four levels."""
    run_python(BACKWARD.format(share=1.1))
    with pytest.raises(AssertionError, match="of the gradient's maps"):
        run_python(BACKWARD.format(share=1.0))


# The pool.

pooled = pytest.mark.skipif(not hasattr(mmap, "MADV_FREE"), reason="the system cannot be told that pages are free")


@pooled
def test_an_answer_takes_the_pages_of_the_last_one_that_nobody_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    own = MemoryPool(1 << 30)
    monkeypatch.setattr(_memory, "pool", lambda: own)  # that of the process may have blocks of other tests
    shape, dtype = (3, POOLED_BYTES // 4), np.dtype(np.float32)
    first = empty(shape, dtype)
    view = first[1:, 5:]  # holds the memory as its base does
    held = first.ctypes.data
    del first
    gc.collect()
    second = empty(shape, dtype)
    assert not np.may_share_memory(view, second)
    del view
    gc.collect()
    third = empty(shape, dtype)
    assert third.ctypes.data == held
    assert (third.shape, third.dtype) == (shape, dtype)
    assert third.flags.c_contiguous
    assert third.flags.writeable


@pooled
def test_the_pool_keeps_no_more_than_it_may_and_lends_no_block_of_more_than_twice_the_size() -> None:
    pool = MemoryPool(kept_bytes=4 * HUGE_PAGE_BYTES)
    blocks = [pool.take(size * HUGE_PAGE_BYTES) for size in (1, 2, 3)]
    small, middle, large = blocks
    for block in blocks:
        block[:1] = b"x"
        pool.give_back(block)  # the first two have to go when the third comes
    assert pool.take(HUGE_PAGE_BYTES) is not small
    assert pool.take(HUGE_PAGE_BYTES) is not large, "three times as large"
    assert pool.take(2 * HUGE_PAGE_BYTES + 1) is large
    assert pool.take(2 * HUGE_PAGE_BYTES) is not middle
    nothing = MemoryPool(kept_bytes=0)
    nothing.give_back(block := nothing.take(HUGE_PAGE_BYTES))
    assert nothing.take(HUGE_PAGE_BYTES) is not block


@pooled
def test_no_two_threads_get_the_same_block() -> None:
    def use(number: int) -> bool:
        for _ in range(50):
            array = empty((POOLED_BYTES // 8,), np.dtype(np.int64))
            array[::4096] = number
            if not (array[::4096] == number).all():
                return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(8)))
    assert sum(map(len, pool()._free)) <= pool().kept_bytes


@pytest.mark.parametrize("text", ["", "much", "-1"])
def test_the_bytes_to_keep_are_a_number(text: str) -> None:
    with pytest.raises(AssertionError, match="ROIALIGN_KEPT_BYTES: expected a number of bytes"):
        run_python("from roialign._memory import pool; pool()", ROIALIGN_KEPT_BYTES=text)
