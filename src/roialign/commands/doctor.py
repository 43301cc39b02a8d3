"""Checks whether this installation works, and says what is missing. It needs no package besides NumPy."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from .. import __version__, build_info, roi_align
from .._extras import PARTS, is_installed, missing_text
from .._text import counted
from .readiness import why_not, wrong_environment

#: The kind of a finding: working, not installed, slower than possible, or broken.
State = Literal["ok", "missing", "slow", "broken"]


class Finding(NamedTuple):
    state: State
    text: str


def doctor_command() -> None:
    """Check the installation, and say what is missing.

    The exit code is 1 if something is broken. Optional packages that are not installed do not count as broken.
    """
    sys.exit(examine())


def examine() -> int:
    """Print all findings, and return the exit code."""
    findings = list(_findings())
    states = [finding.state for finding in findings]
    sys.stdout.write(f"roialign {__version__}, Python {platform.python_version()}, NumPy {np.__version__}\n")
    for finding in findings:
        sys.stdout.write(f"{finding.state:8} {finding.text}\n")
    sys.stdout.write(f"{_summary(states)}\n")
    return int("broken" in states)


def _summary(states: list[State]) -> str:
    if "broken" in states:
        return "Something is broken: see the lines that begin with broken."
    if "missing" in states:
        return "Everything that is installed works."
    return "Everything works."


def _findings() -> Iterator[Finding]:
    yield from _core()
    yield from _settings()
    yield from _torch()
    for part in PARTS:
        missing = missing_text(part)
        yield (
            Finding("missing", missing)
            if missing
            else Finding("ok", f"all packages that {PARTS[part][0]} needs are installed")
        )


def _core() -> Iterator[Finding]:
    """Check that the compiled core loads, computes correctly, and uses the best instruction set."""
    folder = Path(__file__).parents[1]
    wrong = wrong_environment()
    if wrong:
        yield Finding("broken", f"the compiled core: {wrong}")
        return
    reason = why_not("cpu")
    if reason:
        yield Finding("broken", f"the compiled core in {folder}: {reason}; {_how_to_get_the_core(folder)}")
        return
    info = build_info()
    yield Finding("ok", f"the compiled core in {folder}, built with {info['compiler']}")
    features = np.broadcast_to(np.arange(16.0), (1, 1, 16, 16))
    pooled = roi_align(features, np.array([[0, 2.0, 2.0, 10.0, 10.0]]), 1, sampling="exact").item()
    if pooled == 5.5:
        yield Finding("ok", "RoIAlign of a ramp has the correct mean")
    else:
        yield Finding("broken", f"RoIAlign of a ramp has the mean {pooled}, expected 5.5")
    best = list(info["isa_supported"])[-1] if isinstance(info["isa_supported"], list) else ""
    threads = counted(int(str(info["threads"])), "thread")
    if info["isa"] == best:
        yield Finding(
            "ok",
            f"instruction set {info['isa']}, the best for the core on this CPU; {threads}",
        )
    else:
        yield Finding("slow", f"instruction set {info['isa']}, but this CPU supports {best}: unset ROIALIGN_ISA")


def _how_to_get_the_core(folder: Path) -> str:
    if (folder.parents[1] / "CMakeLists.txt").exists():
        return "this is the source folder, which has no core: run Python elsewhere, or remove it from PYTHONPATH"
    return f"reinstall it: {Path(sys.executable).name} -m pip install --force-reinstall --no-deps roialign"


def _settings() -> Iterator[Finding]:
    """Report the settings of the environment and of the operating system that affect the speed."""
    wrong = wrong_environment()
    for name in ("OMP_NUM_THREADS", "ROIALIGN_KEPT_BYTES"):
        if name in os.environ and not wrong.startswith(name):
            yield Finding("ok", f"{name}={os.environ[name]} is set")
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if huge_pages.exists() and "[never]" in huge_pages.read_text(encoding="ascii"):
        yield Finding(
            "slow", f"outputs of 4 MiB and more use small pages: set {huge_pages} to madvise instead of never"
        )


def _torch() -> Iterator[Finding]:
    """Check the version of PyTorch and its threads, and whether the Triton kernels run."""
    if not is_installed("torch"):
        return
    try:
        import torch

        from ..torch.cpu.threads import openmp_address
    except Exception as error:  # broken installations raise many kinds of errors
        yield Finding("broken", f"import of torch: {type(error).__name__}: {error}")
        return
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if release < (2, 11):
        yield Finding("broken", f"torch {torch.__version__} is too old: pip install 'torch>=2.11'")
        return
    threads = "PyTorch's OpenMP threads" if openmp_address() else "its own thread pool"
    yield Finding("ok", f"torch {torch.__version__}; on the CPU, roialign uses {threads}")
    reason = why_not("triton")
    if not reason:
        yield Finding("ok", f"the Triton kernels run on {torch.cuda.get_device_name()}")
    else:
        yield Finding("missing", f"the backend triton is {reason}")
