"""The playground's sources, without Emscripten and a browser: `make playground-test` runs the page itself."""

from __future__ import annotations

import json
import math
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from roialign._spec import PointwiseSpec, SeparableSpec, Spec
from roialign.ops.prroi_pool import PRROI_POOL
from roialign.ops.roi_align import roi_align_spec
from roialign.ops.roi_pool import ROI_POOL
from tests.tables.paths import ROOT

PLAYGROUND = ROOT / "playground"
PAGE, FRONT, CORE = PLAYGROUND / "page", PLAYGROUND / "core", ROOT / "cpp"
BUILD = runpy.run_path(str(PLAYGROUND / "build.py"))
TABLE = json.loads((PAGE / "operators.json").read_text(encoding="utf-8"))
OPERATORS = {operator["name"]: operator for operator in TABLE["operators"]}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def spec_of(operator: dict[str, Any], points: int, aligned: bool) -> Spec:
    """The specification as the page makes it: specOf in core.js."""
    given: dict[str, Any] = {}
    if "aligned" in operator["reads"]:
        given |= TABLE["alignment"]["true" if aligned else "false"]
    if "points" in operator["reads"]:
        given["sampling_ratio"] = (points, points)
    given |= operator["spec"]
    if given.get("minimum_length", 0) is None:
        given["minimum_length"] = -math.inf
    family = {"separable": SeparableSpec, "pointwise": PointwiseSpec}[given.pop("family")]
    assert set(given) <= set(family._fields)
    return family(**given)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("points", [0, 2])
def test_the_operators_have_the_specifications_of_the_package(points: int, aligned: bool) -> None:
    expected: dict[str, Spec] = {
        "align": roi_align_spec(points, aligned, "avg", "grid"),
        "align-random": roi_align_spec(points, aligned, "avg", "random"),
        "align-exact": roi_align_spec(0, aligned, "avg", "exact"),
        "align-max": roi_align_spec(points, aligned, "max", "grid"),
        "align-max-exact": roi_align_spec(0, aligned, "max", "exact"),
        "pool": ROI_POOL,
        "prroi": PRROI_POOL,
        "crop": SeparableSpec(rule="crop", normalised_boxes=True),
    }
    found = {name: spec_of(operator, points, aligned) for name, operator in OPERATORS.items()}
    assert found == expected
    assert {name: type(spec) for name, spec in found.items()} == {name: type(spec) for name, spec in expected.items()}


@pytest.mark.parametrize(
    ("kind", "header", "enumeration"),
    [
        ("separable rule", "steps/sample_points.h", "Rule"),
        ("pointwise rule", "pointwise.h", "PointRule"),
        ("mapping", "pointwise.h", "Mapping"),
        ("reduction", "pointwise.h", "Reduction"),
    ],
)
def test_names_have_the_numbers_of_the_core(kind: str, header: str, enumeration: str) -> None:
    found = re.search(rf"enum class {enumeration} {{(.*?)}};", text_of(CORE / header), re.DOTALL)
    assert found is not None
    names = [name.strip() for name in found[1].split(",")]
    assert TABLE["enums"][kind] == names[: len(TABLE["enums"][kind])]


def names_in(text: str, start: str, end: str) -> list[str]:
    part = text[text.index(start) + len(start) :]
    return re.findall(r"\w+", re.sub(r"//.*", "", part[: part.index(end)]))


def test_javascript_writes_and_reads_memory_in_the_order_of_the_front() -> None:
    script, request, front = text_of(PAGE / "core.js"), text_of(FRONT / "request.h"), text_of(FRONT / "front.cpp")
    declared = [name for name in names_in(request, "struct Request {", "};") if name != "double"]
    assert names_in(script, "const FIELDS = [", "];") == declared
    limited = re.findall(r"\{[^{}]*\},\s*// (\w+)", request)
    assert limited == declared, "the comments of `limits` name the fields"
    results = names_in(front, "enum Result {", "};")
    assert [*names_in(script, "const RESULTS = [", "];"), "result_count"] == results


def test_the_script_uses_only_elements_that_the_page_has() -> None:
    page = text_of(PAGE / "index.html")
    ids = re.findall(r'\bid="([\w-]+)"', page)
    assert len(ids) == len(set(ids))
    used = {name for file in PAGE.glob("*.js") for name in re.findall(r'part\("([\w-]+)"\)', text_of(file))}
    assert len(used) > 15
    assert used <= set(ids)
    referred = re.findall(r'aria-(?:labelledby|describedby)="([\w-]+)"', page)
    assert set(referred) <= set(ids)


def test_the_page_loads_only_its_own_files() -> None:
    page = text_of(PAGE / "index.html")
    loaded = re.findall(r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="([^"]+)"', page)
    assert set(loaded) == {"data:,", "playground.js", *BUILD["COPIED"]} - {"index.html"}
    assert re.findall(r'<a href="([^"]+)"', page) == ["../index.html"]
    for file in [*PAGE.glob("*.js"), PAGE / "playground.css", PAGE / "index.html"]:
        assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|WebSocket|@import|\burl\(", text_of(file)), file.name


def test_the_picture_has_the_sizes_of_the_style_sheet() -> None:
    stage, state, style = text_of(PAGE / "stage.js"), text_of(PAGE / "state.js"), text_of(PAGE / "playground.css")
    (width, height), gap, strip = (
        map(int, re.search(r"IMAGE = { width: (\d+), height: (\d+) }", state).groups()),  # type: ignore[union-attr]
        int(re.search(r"GAP = (\d+)", stage)[1]),  # type: ignore[index]
        int(re.search(r"STRIP = (\d+)", stage)[1]),  # type: ignore[index]
    )
    assert f"aspect-ratio: {width + gap + strip} / {height + gap + strip};" in style
    assert f"width: calc(100% * {width} / {width + gap + strip});" in style
    assert f"height: calc(100% * {height} / {height + gap + strip});" in style


def test_the_compiled_sources_exist() -> None:
    assert all((CORE / name).exists() for name in BUILD["CORE_SOURCES"])


def test_modules_are_joined_in_the_order_of_their_imports() -> None:
    modules = {**BUILD["source_modules"](), "embedded.js": BUILD["embedded"](b"core")}
    script = BUILD["bundle"](modules, "main.js")
    places = [script.index(f"{text}(") for text in ("function fromHash", "function makeMap", "function showNow")]
    assert places == sorted(places)
    assert set(modules) - {"main.js"} == {
        name for text in modules.values() for name in re.findall(r'from "\./([\w.]+)"', text)
    }


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"main.js": 'import { a } from "./a.js";\n'}, "main.js: there is no module a.js"),
        (
            {
                "main.js": 'import { a } from "./a.js";\nconst b = 1;\n',
                "a.js": "export const a = 1;\nfunction b() {}\n",
            },
            "main.js: b is also declared in a.js",
        ),
        (
            {"main.js": 'import { a } from "./a.js";\n', "a.js": 'import { b } from "./main.js";\n'},
            "main.js: it imports itself, by main.js, a.js",
        ),
        ({"main.js": "export default 1;\n"}, "not an import or export that can be joined"),
        ({"main.js": 'import * as all from "./a.js";\n'}, "not an import or export that can be joined"),
    ],
)
def test_what_cannot_be_joined_is_refused(modules: dict[str, str], message: str) -> None:
    with pytest.raises(BUILD["BuildError"], match=message):
        BUILD["bundle"](modules, "main.js")


def test_without_emscripten_the_build_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BUILD["BuildError"], match=r"em\+\+ was not found. Install Emscripten"):
        BUILD["compile_core"](tmp_path / "core.wasm")


def test_the_photograph_is_credited() -> None:
    for page in (PAGE / "index.html", ROOT / "docs" / "playground.md"):
        assert "Eileen Collins" in re.sub(r"\s+", " ", text_of(page)), page.name
