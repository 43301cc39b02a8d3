"""Describe this machine for the results."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np

import roialign

from .cases import parse_threads


def describe_machine() -> dict[str, Any]:
    """Return CPU model, cores, memory, instruction sets, system and versions. Nothing identifies the owner."""
    info = roialign.build_info()
    return {
        "cpu": cpu_model(),
        "cores": parse_threads(["all"])[0],
        "memory_gb": _memory_gigabytes(),
        "instruction_sets": info["isa_supported"],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def machine_in_short() -> str:
    """Return the number of cores and the CPU model, as the pages quote them."""
    machine = describe_machine()
    return f"{machine['cores']} cores ({machine['cpu']})"


def cpu_model() -> str:
    """Return the CPU's name, or its family and model if the name says little, as in virtual machines."""
    fields = _cpu_fields()
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields and not re.search(r"\d", name):
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def file_name(machine: dict[str, Any]) -> str:
    """Return the machine's name for a file name."""
    words = f"{machine['cpu']} {machine['cores']} cores".lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") + ".json"


def _cpu_fields() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory_gigabytes() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError, AttributeError):
        return None
