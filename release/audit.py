"""What a wheel must be: its name, its content, its size, and what it asks of the system."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .paths import version

#: What a compiler has made.
COMPILED = re.compile(r"\.(so|pyd|dll|dylib)(\.|$)")
#: A wheel is larger when something is in it that should not be.
LARGEST_BYTES = 3_000_000
#: The name of the compiled module by the tag of the Python ABI.
MODULES = {
    "abi3": r"_core\.abi3\.so|_core\.pyd",
    "cp310": r"_core\.cpython-310-.*\.so|_core\.cp310-.*\.pyd",
    "cp311": r"_core\.cpython-311-.*\.so|_core\.cp311-.*\.pyd",
    "cp314t": r"_core\.cpython-314t-.*\.so|_core\.cp314t-.*\.pyd",
}


class WheelName(NamedTuple):
    """`name-version-python-abi-platform.whl`, its parts."""

    name: str
    version: str
    python: str
    abi: str
    platform: str


def parse_name(wheel: Path) -> WheelName:
    """
    Raises
    ------
    ValueError
        If it is no wheel's name.
    """
    parts = wheel.stem.split("-")
    if wheel.suffix != ".whl" or len(parts) != 5:
        raise ValueError(f"expected name-version-python-abi-platform.whl, got {wheel.name}")
    return WheelName(*parts)


def problems_of(wheel: Path, wanted: str) -> list[str]:
    """What is wrong with a wheel's name, content and size; every line says what was expected."""
    name = parse_name(wheel)
    found = []
    if (name.name, name.version) != ("roialign", wanted):
        found.append(f"expected roialign-{wanted}, got {name.name}-{name.version}")
    if name.abi not in MODULES or name.python != ("cp312" if name.abi == "abi3" else name.abi.rstrip("t")):
        found.append(f"expected cp312-abi3, cp310, cp311 or cp314t, got {name.python}-{name.abi}")
    if name.platform.startswith("linux"):
        found.append(f"{name.platform} is for this machine only; auditwheel repair gives a manylinux tag")
    if wheel.stat().st_size > LARGEST_BYTES:
        found.append(f"expected at most {LARGEST_BYTES} bytes, got {wheel.stat().st_size}")
    return found + _problems_of_content(wheel, name)


def _problems_of_content(wheel: Path, name: WheelName) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
    compiled = [file for file in files if COMPILED.search(file)]
    found = []
    if len(compiled) != 1 or not re.fullmatch(f"roialign/({MODULES.get(name.abi, '')})", compiled[0]):
        found.append(f"expected the compiled module of {name.abi} alone, got {', '.join(compiled) or 'none'}")
    strange = [file for file in files if not re.match(r"roialign(-[^/]+\.dist-info)?/", file)]
    if strange:
        found.append(f"expected the package and its metadata only, got {', '.join(strange)}")
    for needed in ("roialign/py.typed", "roialign/_core.pyi", "roialign/__init__.py"):
        if needed not in files:
            found.append(f"{needed} is missing")
    return found


def abi3_problems(wheel: Path) -> list[str]:
    """What abi3audit says of a wheel of the stable ABI; nothing for others."""
    if parse_name(wheel).abi != "abi3":
        return []
    command = [sys.executable, "-m", "abi3audit", "--strict", "--summary", "--debug", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [f"abi3audit: {(done.stdout + done.stderr).strip()}"]


def show(wheel: Path) -> str:
    """What `auditwheel show` says, in one paragraph: which systems the wheel runs on."""
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


def source_problems(archive: Path, wanted: str) -> list[str]:
    """What is wrong with a source distribution: it must hold what a build needs, and nothing that is compiled."""
    if archive.name != f"roialign-{wanted}.tar.gz":
        return [f"expected roialign-{wanted}.tar.gz, got {archive.name}"]
    with tarfile.open(archive) as opened:
        files = {name.partition("/")[2] for name in opened.getnames()}
    needed = (
        "pyproject.toml",
        "CMakeLists.txt",
        "LICENSE",
        "README.md",
        "cpp/bindings.cpp",
        "src/roialign/__init__.py",
    )
    found = [f"{name} is missing" for name in needed if name not in files]
    return found + [f"{name} does not belong here" for name in files if COMPILED.search(name)]


def check_files(files: Sequence[Path]) -> list[str]:
    """What is wrong with wheels and source distributions, each line with the name of its file."""
    found = []
    for file in files:
        if file.suffix == ".whl":
            problems = problems_of(file, version()) + abi3_problems(file)
        else:
            problems = source_problems(file, version())
        found += [f"{file.name}: {problem}" for problem in problems]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.audit", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="wheels, and source distributions")
    files = parser.parse_args().files
    problems = check_files(files)
    print("\n".join(problems) if problems else f"{len(files)} files are as they must be")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
