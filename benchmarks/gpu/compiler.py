"""What the compiler makes of kernels for a Hopper GPU that need not be there, as calls launch them.

In a process of its own: Triton's interpreter keeps it from compiling.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
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

#: What a multiprocessor of compute capability 9.0 holds: registers of 32 bits, warps, programs, bytes of shared memory.
REGISTERS, WARPS, PROGRAMS, SHARED = 65536, 64, 32, 227 << 10


class Hopper:
    """What Triton asks of a device before it compiles."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        del device
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


@dataclass(frozen=True)
class Launch:
    """A launch that was not made, and what would have run."""

    kernel: str
    grid: tuple[int, ...]
    warps: int
    registers: int
    stack: int
    """Bytes of a thread: spilled registers, and arrays."""
    shared: int
    seconds: float
    """Of the processor, for compiling; 0 where that was done before."""
    code: Code

    @property
    def programs(self) -> int:
        count = 1
        for side in self.grid:
            count *= side
        return count

    @property
    def programs_at_once(self) -> int:
        """On one multiprocessor. Registers are given out by 256 for a warp."""
        of_warp = -(-self.registers * 32 // 256) * 256
        by_registers = REGISTERS // (of_warp * self.warps)
        by_shared = SHARED // (self.shared + 1024)
        return min(PROGRAMS, WARPS // self.warps, by_registers, by_shared)


@contextmanager
def compiled_only() -> Iterator[list[Launch]]:
    """Calls compile what they would launch, and launch nothing; their tensors may be on the CPU and hold anything."""
    modules, found = (separable, pointwise, frames, tiles), list[Launch]()

    def compile_only(kernel: Any, grid: tuple[int, ...], _: Any, *arguments: Any, **constants: Any) -> None:
        if 0 in grid:
            return
        begin = processor_seconds()
        binary = kernel.warmup(*arguments, grid=grid, **constants)
        seconds = processor_seconds() - begin
        registers, stack, code = looked_at(binary.asm["cubin"])
        name, metadata = kernel.fn.__name__.removesuffix("_kernel"), binary.metadata
        found.append(Launch(name, grid, metadata.num_warps, registers, stack, metadata.shared, seconds, code))

    driver.set_active(Hopper())
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(patch.object(module, "launch", compile_only))
        # Tensors on the CPU are for the interpreter otherwise.
        stack.enter_context(patch.object(backends, "is_interpreted", lambda: True))
        yield found


def processor_seconds() -> float:
    """Of this process and of those that it has waited for, as of the assembler."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@cache
def looked_at(cubin: bytes) -> tuple[int, int, Code]:
    """Registers and stack of a thread, and the code."""
    return (*resources(cubin), read_code(disassembled(cubin)))


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers and stack of a thread, as the assembler reports them."""
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
