"""Compile kernels for a GPU, as calls would launch them. No GPU is needed.

Use a separate process, because Triton's interpreter prevents compilation.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from roialign.torch import backends
from roialign.torch.triton import frames, pointwise, separable, tiles

from .sass import Code, read_code

#: Resources of a multiprocessor of compute capability 9.0: 32-bit registers, warps, programs, bytes of shared memory.
REGISTERS, WARPS, PROGRAMS, SHARED = 65536, 64, 32, 227 << 10


HOPPER = GPUTarget("cuda", 90, 32)


class AbsentGPU:
    """The device properties that Triton reads before it compiles."""

    def __init__(self, target: GPUTarget = HOPPER) -> None:
        self.target = target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        del device
        return 0

    def get_current_target(self) -> GPUTarget:
        return self.target


@dataclass(frozen=True)
class Launch:
    """A launch that was compiled but not executed."""

    kernel: str
    grid: tuple[int, ...]
    warps: int
    registers: int
    stack: int
    """Bytes per thread: spilled registers and arrays."""
    shared: int
    seconds: float
    """CPU seconds for compilation; 0 if it was cached."""
    code: Code

    @property
    def programs(self) -> int:
        count = 1
        for side in self.grid:
            count *= side
        return count

    @property
    def programs_at_once(self) -> int:
        """Programs on one multiprocessor. Registers are allocated in units of 256 per warp."""
        of_warp = -(-self.registers * 32 // 256) * 256
        by_registers = REGISTERS // (of_warp * self.warps)
        by_shared = SHARED // (self.shared + 1024)
        return min(PROGRAMS, WARPS // self.warps, by_registers, by_shared)


@contextmanager
def compiled_only() -> Iterator[list[Launch]]:
    """Inside the context, calls compile their kernels and launch nothing. Tensors may be on the CPU and hold any
    values."""
    found = list[Launch]()

    def compile_only(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        begin = processor_seconds()
        binary = kernel.warmup(*arguments, grid=grid, **constants)
        seconds = processor_seconds() - begin
        registers, stack, code = looked_at(binary.asm["cubin"])
        name, metadata = kernel.fn.__name__.removesuffix("_kernel"), binary.metadata
        found.append(Launch(name, grid, metadata.num_warps, registers, stack, metadata.shared, seconds, code))

    with launching(compile_only):
        yield found


@contextmanager
def launching(launch: Callable[..., None], target: GPUTarget = HOPPER) -> Iterator[None]:
    """Inside the context, `launch` takes the launches of calls on CPU tensors: the kernel, the grid, the arguments and
    the constants. Triton compiles for a Hopper GPU, or another target."""

    def with_programs(kernel: Any, grid: tuple[int, ...], _: Any, *arguments: Any, **constants: Any) -> None:
        if 0 not in grid:
            launch(kernel, grid, *arguments, **constants)

    driver.set_active(AbsentGPU(target))
    with ExitStack() as stack:
        for module in (separable, pointwise, frames, tiles):
            stack.enter_context(patch.object(module, "launch", with_programs))
        # Otherwise, CPU tensors would run in the interpreter.
        stack.enter_context(patch.object(backends, "is_interpreted", lambda: True))
        yield


def processor_seconds() -> float:
    """Return the CPU time of this process and its finished child processes, such as the assembler."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@cache
def looked_at(cubin: bytes) -> tuple[int, int, Code]:
    """Return registers and stack per thread, and the code."""
    return (*resources(cubin), read_code(disassembled(cubin)))


def resources(cubin: bytes) -> tuple[int, int]:
    """Return registers and stack per thread, as reported by the assembler."""
    report = told(cubin, knobs.nvidia.cuobjdump.path, "--dump-resource-usage")
    registers, stack = (int(re.findall(rf"{name}:(\d+)", report)[-1]) for name in ("REG", "STACK"))
    return registers, stack


def disassembled(cubin: bytes) -> str:
    return told(cubin, knobs.nvidia.nvdisasm.path, "-c")


def told(cubin: bytes, *command: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        return subprocess.run([*command, str(path)], capture_output=True, check=True, text=True).stdout
