"""The kernels compiled for a GPU that is not there: what the interpreter cannot show, read off the machine code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")
SCRIPT = Path(__file__).with_name("compiled_kernels.py")


def compiled(*arguments: str) -> list[dict[str, Any]]:
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    run = subprocess.run([sys.executable, str(SCRIPT), *arguments], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


def check(kernel: dict[str, Any]) -> None:
    assert kernel["ptx"]["atomics"] == 0
    assert kernel["ptx"]["TF32"] == 0
    assert kernel["resources"]["STACK"] == 0, "registers spill"


def test_tables_are_made_without_contraction() -> None:
    kernels = compiled("tables")
    assert len(kernels) == 8
    for kernel in kernels:
        check(kernel)
        assert kernel["ptx"]["float64 fused"] == 0
        assert kernel["ptx"]["float32 divisions"] == 0


@pytest.mark.parametrize("element", ["fp16", "fp32"])
def test_channels_last_maps_are_read_16_bytes_at_a_time(element: str) -> None:
    kernels = {kernel["kernel"]: kernel for kernel in compiled(element, "channels_last")}
    for kernel in kernels.values():
        check(kernel)
    assert kernels["forward_kernel"]["ptx"]["16-byte loads"] > 0
    assert kernels["forward_kernel"]["ptx"]["16-byte stores"] > 0
    assert kernels["adjoint_boxes_kernel"]["ptx"]["16-byte loads"] > 0
    assert kernels["adjoint_features_kernel"]["ptx"]["16-byte stores"] > 0


def test_planar_maps() -> None:
    for kernel in compiled("fp32", "planes"):
        check(kernel)
