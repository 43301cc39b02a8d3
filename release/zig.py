"""Compilers for Linux with an older C library than this machine's, and for another CPU: zig, from PyPI.

A library asks for the version of glibc that it was linked against, or a newer one. zig links against any, for x86_64
and aarch64 alike, and puts its C++ library into what it links.
"""

from __future__ import annotations

import stat
from pathlib import Path

#: What manylinux_2_28 promises, which pip has known since its version 20.3.
GLIBC = "2.28"
#: The commands of zig that stand in for a compiler's tools.
TOOLS = {"cc": "cc", "c++": "c++", "ar": "ar", "ranlib": "ranlib"}


def write_tools(folder: Path, architecture: str) -> dict[str, str]:
    """Writes a compiler for `architecture` into `folder`; gives what CMake must be told, as environment variables."""
    import ziglang

    zig = Path(ziglang.__file__).with_name("zig")
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in TOOLS.items():
        target = f" -target {architecture}-linux-gnu.{GLIBC}" if command in ("cc", "c++") else ""
        _write_script(folder / name, f'#!/bin/sh\nexec "{zig}" {command}{target} "$@"\n')
    return {
        "CC": str(folder / "cc"),
        "CXX": str(folder / "c++"),
        "CMAKE_ARGS": f"-DCMAKE_AR={folder / 'ar'} -DCMAKE_RANLIB={folder / 'ranlib'}",
        "_PYTHON_HOST_PLATFORM": f"linux-{architecture}",
    }


def _write_script(path: Path, text: str) -> None:
    """Leaves a file alone that says so already: ccache takes a newer one for another compiler."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
