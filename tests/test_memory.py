"""What a call takes beside its input and its output, for every thread that works on it."""

from __future__ import annotations

import sys

import pytest
from python import run_python

MEASURE = """
import re
import numpy as np, roialign
from roialign import cpu
from roialign.ops.roi_align import roi_align_spec

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

roialign.set_num_threads(1)
rng = np.random.default_rng(0)
spec = roi_align_spec(0, True, "avg", {sampling!r}, None, drawn=False)
size = (1, 256, 200, 240) if {layout!r} == "NCHW" else (1, 200, 240, 256)
bins = (600, 256, 7, 7) if {layout!r} == "NCHW" else (600, 7, 7, 256)
seen = (lambda array: array) if {layout!r} == "NCHW" else (lambda array: array.transpose(0, 3, 1, 2))
features, pooled, gradient = (np.ones(shape, np.float32) for shape in (size, bins, size))
start = rng.uniform(0, 160, (600, 2))
rois = np.column_stack([np.zeros(600), start, start + rng.uniform(4, 40, (600, 2))])
levels = np.zeros(600, np.int64)
cpu.forward(spec, [seen(features)[:, :8]], [1.0], rois[:9], levels[:9], seen(pooled)[:9, :8].copy())  # loads the core
calls = {{
    "forward": lambda: cpu.forward(spec, [seen(features)], [1.0], rois, levels, seen(pooled)),
    "features": lambda: cpu.adjoint_features(spec, seen(pooled), [1.0], rois, levels, [seen(gradient)]),
    "boxes": lambda: cpu.adjoint_boxes(spec, seen(pooled), [seen(features)], [1.0], rois, levels),
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
def test_a_call_takes_little_beside_its_input_and_output(call: str, layout: str, sampling: str) -> None:
    run_python(MEASURE.format(call=call, layout=layout, sampling=sampling, share=0.1))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_the_measure_of_memory_can_fail() -> None:
    with pytest.raises(AssertionError, match="of input and output"):
        run_python(MEASURE.format(call="forward", layout="NCHW", sampling="grid", share=1e-6))
