"""Build the playground, one static page that runs the C++ core in WebAssembly: `make playground`.

It needs Emscripten (em++) and nothing else. The page also works from a local file, where a browser loads neither
modules nor other files. Therefore the modules are joined into one script, which contains the compiled core and the
photograph. Only theme.js is a script of its own, because it must run before the page is drawn.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGE, FRONT, CORE = HERE / "page", HERE / "core", ROOT / "cpp"

#: The files of the page that are copied as they are.
COPIED = ("index.html", "playground.css", "theme.js")

#: The limits of the page in bytes: all its files together, as they are and compressed by gzip.
LARGEST, LARGEST_COMPRESSED = 400_000, 150_000

#: The parts of the core that the page uses. playground/core/serial.cpp replaces parallel.cpp and dispatch.cpp.
CORE_SOURCES = [
    *(CORE / name for name in ("kernels.cpp", "places.cpp", "pointwise_kernels.cpp", "taps.cpp")),
    *sorted((CORE / "pointwise").glob("*.cpp")),
    *sorted((CORE / "separable").glob("*.cpp")),
]
#: As in CMakeLists.txt, geometry is compiled without fused multiply-add.
COMPILER_FLAGS = ["-std=c++20", "-Os", "-ffp-contract=off", "-fno-exceptions", "-fno-rtti"]
WARNING_FLAGS = ["-Wall", "-Wextra", "-Werror"]
LINKER_FLAGS = ["-sSTANDALONE_WASM=1", "-sALLOW_MEMORY_GROWTH=1", "--no-entry"]

#: The start of every statement that declares a name for the whole module.
DECLARATION = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class) )", re.MULTILINE)
IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)


class BuildError(Exception):
    """What is missing or wrong, in words."""


def compile_core(target: Path) -> None:
    """Compile the core and its front to WebAssembly, if a source is newer than the result."""
    compiler = shutil.which("em++")
    if compiler is None:
        raise BuildError("em++ was not found. Install Emscripten, for example with: apt-get install emscripten")
    files = [*FRONT.glob("*"), *CORE.rglob("*.h"), *CORE.rglob("*.cpp"), Path(__file__)]
    if target.exists() and target.stat().st_mtime > max(file.stat().st_mtime for file in files):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    sources = [*sorted(FRONT.glob("*.cpp")), *CORE_SOURCES]
    places = [f"-I{CORE}", "-DROIALIGN_NAMESPACE=baseline"]
    command = [compiler, *COMPILER_FLAGS, *WARNING_FLAGS, *places, *map(str, sources), "-o", str(target), *LINKER_FLAGS]
    if subprocess.run(command, check=False).returncode != 0:
        target.unlink(missing_ok=True)
        raise BuildError("em++ failed; its messages are above")


def embedded(core: bytes) -> str:
    """The module embedded.js: what is not written in JavaScript."""
    packed = base64.b64encode(gzip.compress(core, 9, mtime=0)).decode()
    photograph = base64.b64encode((PAGE / "photograph.jpg").read_bytes()).decode()
    return (
        f"export const OPERATORS = {(PAGE / 'operators.json').read_text(encoding='utf-8').strip()};\n"
        f'export const CORE_GZIP_BASE64 = "{packed}";\n'
        f'export const PHOTOGRAPH = "data:image/jpeg;base64,{photograph}";\n'
    )


def bundle(modules: dict[str, str], entry: str) -> str:
    """Join modules into one script, each after those that it imports.

    They may only have imports of the form ``import { names } from "./file.js";`` and exports of declarations, and no
    two modules may declare the same name.
    """
    order: list[str] = []

    def add(name: str, importers: tuple[str, ...]) -> None:
        if name in importers:
            raise BuildError(f"{name}: it imports itself, by {', '.join(importers)}")
        if name in order:
            return
        if name not in modules:
            raise BuildError(f"{importers[-1]}: there is no module {name}")
        for imported in IMPORT.findall(modules[name]):
            add(imported, (*importers, name))
        order.append(name)

    add(entry, ())
    owners: dict[str, str] = {}
    for name in order:
        for declared in DECLARATION.findall(modules[name]):
            if owners.setdefault(declared, name) != name:
                raise BuildError(f"{name}: {declared} is also declared in {owners[declared]}")
    script = "\n\n".join(EXPORT.sub("", IMPORT.sub("", modules[name])).strip() for name in order)
    if left := re.search(r"^(import|export)\b.*", script, re.MULTILINE):
        raise BuildError(f"not an import or export that can be joined: {left[0]}")
    return '"use strict";\n(() => {\n' + script + "\n})();\n"


def source_modules() -> dict[str, str]:
    """The modules of the page by file name, without embedded.js."""
    return {
        file.name: file.read_text(encoding="utf-8") for file in sorted(PAGE.glob("*.js")) if file.name not in COPIED
    }


def sizes(folder: Path) -> tuple[int, int]:
    """The size of all files of a folder, as they are and compressed by gzip."""
    contents = [file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()]
    return sum(map(len, contents)), sum(len(gzip.compress(content, 9)) for content in contents)


def build(target: Path, work: Path) -> None:
    core = work / "core.wasm"
    compile_core(core)
    script = bundle({**source_modules(), "embedded.js": embedded(core.read_bytes())}, "main.js")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "playground.js").write_text(script, encoding="utf-8")
    for name in COPIED:
        shutil.copyfile(PAGE / name, target / name)
    size, compressed = sizes(target)
    if size > LARGEST or compressed > LARGEST_COMPRESSED:
        limits = f"{LARGEST} and {LARGEST_COMPRESSED}"
        raise BuildError(f"the page has {size} bytes, {compressed} compressed; at most {limits} are allowed")
    print(f"roialign: the playground is {target / 'index.html'}, {size // 1000} KB, {compressed // 1000} KB compressed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, default=Path("build/playground"), help="where the page goes")
    parser.add_argument("--work", type=Path, default=Path("build/playground-core"), help="where the compiled core goes")
    options = parser.parse_args()
    try:
        build(options.target, options.work)
    except BuildError as error:
        sys.exit(f"roialign: the playground was not built: {error}")


if __name__ == "__main__":
    main()
