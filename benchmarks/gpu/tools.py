"""Describe this machine: the device, versions, and tools for inspecting kernels."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import roialign

from ..machine import cpu_model
from .device import IS_REHEARSAL

PROGRAMS = ("nvidia-smi", "nvcc", "ncu", "nsys", "compute-sanitizer", "cuobjdump", "nvdisasm", "g++", "cmake", "ninja")
#: Packages whose versions are recorded, but not compared between runs.
PACKAGES = ("pytest", "hypothesis", "ml_dtypes", "onnx", "onnxruntime", "nanobind", "scikit-build-core")


def has(package: str) -> bool:
    return find_spec(package) is not None


def machine_here() -> dict[str, Any]:
    """Describe the device and its host. Nothing identifies the owner."""
    device = torch.cuda.get_device_properties(0)
    return {
        "gpu": device.name,
        "multiprocessors": device.multi_processor_count,
        "memory_gb": round(device.total_memory / 1e9),
        "cache_mb": round(device.L2_cache_size / 1e6),
        "cpu": cpu_model(),
    }


def versions_here() -> dict[str, str]:
    import triton

    versions = {
        "roialign": roialign.__version__,
        "torch": str(torch.__version__),
        "CUDA": str(torch.version.cuda),
        "triton": triton.__version__,
        "Python": platform.python_version(),
    }
    if has("torchvision"):
        versions["torchvision"] = version("torchvision")
    return versions


def found() -> dict[str, Any]:
    """Return everything; "is_there" tells whether there is a device."""
    is_there = IS_REHEARSAL or torch.cuda.is_available()
    return {
        "is_there": is_there,
        "machine": machine_here() if is_there else {},
        "versions": versions_here(),
        "others": {name: version_of(name) for name in PACKAGES},
        "programs": {name: first_line(name) for name in PROGRAMS},
        "compiled core": has("roialign._core"),
        "sources": digest(),
    }


def digest() -> str:
    """Return a hash of the package's Python files."""
    found = hashlib.sha256()
    for path in sorted(Path(roialign.__file__).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def first_line(name: str) -> str | None:
    """Return the line with the version number from a program's output, or None if the program is missing."""
    path = program(name)
    if path is None:
        return None
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired) as reason:
        return f"does not answer: {type(reason).__name__}"
    lines = [line.strip() for line in said.splitlines() if any(letter.isdigit() for letter in line)]
    numbered = [line for line in lines if "ersion" in line or "release" in line]
    return (numbered or lines or ["there"])[0]


def program(name: str) -> str | None:
    """Find a program on the PATH or in CUDA's own folder, which may not be on the PATH."""
    found = shutil.which(name)
    if found is not None:
        return found
    compiler = shutil.which("nvcc")
    folders = [*([Path(compiler).parent] if compiler else []), Path("/usr/local/cuda/bin")]
    return next((str(folder / name) for folder in folders if (folder / name).exists()), None)
