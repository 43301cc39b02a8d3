"""Measure the first calls in a process on a CUDA device: how long Triton takes to compile or to read its cache.

    python -m benchmarks.gpu.first_call

prints the seconds as JSON, with the current Triton cache (TRITON_CACHE_DIR).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import torch

from ..process import ROOT
from .calls import Inputs, ours
from .device import IS_REHEARSAL, workload_of
from .rehearsal import fake_cuda


def first_calls() -> dict[str, float]:
    """Return the seconds until the result is available."""
    inputs = Inputs(workload_of("box-test"), torch.float16, channels_last=True, sets=1)
    seconds = {}
    for what, backward in (("forward", False), ("backward after it", True)):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        ours(inputs, 2, backward)(0)
        torch.cuda.synchronize()
        seconds[what] = time.perf_counter() - begin
    return seconds


def in_new_processes() -> dict[str, dict[str, float]]:
    """Measure with an empty cache, and again with the cache that this left."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for held in ("empty", "filled"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.gpu.first_call"],
                cwd=ROOT,
                env={**os.environ, "TRITON_CACHE_DIR": folder},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[held] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    if IS_REHEARSAL:
        fake_cuda()
    print(json.dumps(first_calls()))
