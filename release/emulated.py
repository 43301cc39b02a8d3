"""The aarch64 wheel of the stable ABI on this machine: the smoke test and the core's tests, under qemu-user.

    python -m release.emulated dist/roialign-0.1.0-cp312-abi3-manylinux_2_28_aarch64.whl

Wants what Debian calls qemu-user-static and debootstrap, and to be run by root: the other CPU's Python and C library
come as Debian's packages, NumPy and pytest as wheels. Slow: 20 to 50 times.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from .paths import ROOT

WORK = ROOT / "build" / "aarch64"
DEBIAN, PYTHON = "trixie", "3.13"
#: Beside the required packages of Debian, from which the C library comes.
PACKAGES = (
    f"python{PYTHON}-minimal",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libexpat1",
    "libffi8",
)
WHEELS = ("numpy", "ml_dtypes", "pytest", "hypothesis")
#: Tests of the core that start no process of their own: an import alone takes a minute and a half here.
TESTS = tuple(
    f"tests/core/test_determinism.py::{name}"
    for name in (
        "test_the_answer_of_a_roi_does_not_depend_on_the_others",
        "test_one_worker_where_one_thread_is_set",
        "test_several_python_threads_at_once_get_the_same_bits",
        "test_the_number_of_threads_may_change_while_calls_run",
    )
)
#: Every value of the half types read right, and rounded to nearest.
HALF_TYPES = "from tests.core.test_half_types import DTYPES, check_rounding; [check_rounding(name) for name in DTYPES]"


def make_root() -> Path:
    """A folder with Debian for aarch64, its packages unpacked only: nothing in it was run."""
    root = WORK / "root"
    if (root / "usr" / "bin" / f"python{PYTHON}").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    command = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    subprocess.run([*command, DEBIAN, root], check=True, stdout=subprocess.DEVNULL)
    for package in PACKAGES:
        for archive in (root / "var" / "cache" / "apt" / "archives").glob(f"{package}_*.deb"):
            subprocess.run(["dpkg", "-x", archive, root], check=True)
    return root


def make_site(wheel: Path) -> Path:
    """A folder with the wheel and what its tests need, all for aarch64."""
    site, wheels = WORK / "site", WORK / "wheels"
    if not wheels.exists():
        platforms = [f"--platform=manylinux{name}_aarch64" for name in ("_2_28", "_2_27", "2014")]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--only-binary=:all:"]
        subprocess.run([*pip, *platforms, f"--python-version={PYTHON}", "-d", wheels, *WHEELS], check=True)
    shutil.rmtree(site, ignore_errors=True)
    for file in (*wheels.glob("*.whl"), wheel):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(site)
    return site


def make_python(root: Path) -> Path:
    """A script that runs the other CPU's Python: tests start it as they start any."""
    script = WORK / "python"
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if qemu is None:
        raise FileNotFoundError("qemu-aarch64 is not here: apt-get install qemu-user-static")
    script.write_text(f'#!/bin/sh\nexec "{qemu}" -L "{root}" "{root}/usr/bin/python{PYTHON}" "$@"\n')
    script.chmod(0o755)
    return script


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.emulated", description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--tests", nargs="*", default=TESTS, help="what pytest gets; nothing: the smoke test alone")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        python = make_python(make_root())
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
    paths = os.pathsep.join(map(str, (make_site(arguments.wheel), ROOT)))
    environment = os.environ | {"PYTHONPATH": paths, "ROIALIGN_TESTED_PYTHON": str(python), "OMP_NUM_THREADS": "2"}
    subprocess.run([python, ROOT / "release" / "smoke.py"], env=environment, check=True)
    subprocess.run([python, "-c", HALF_TYPES], env=environment, check=True)
    if arguments.tests:
        pytest = [
            python,
            "-m",
            "pytest",
            "-q",
            "--noconftest",
            "-p",
            "release.emulated_fixtures",
            "-p",
            "no:cacheprovider",
        ]
        subprocess.run([*pytest, *arguments.tests], env=environment, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
