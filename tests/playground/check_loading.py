"""How the page and its core are loaded and called."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import pytest

from tests.playground.browser import BUILT, DESKTOP, Window, chromium
from tests.playground.states import START
from tests.tables.paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_the_page_works_from_a_local_file(browser: Browser, window: Window) -> None:
    context = browser.new_context(**DESKTOP)
    local = Window(context.new_page(), f"{BUILT.resolve().as_uri()}/index.html")
    local.open(START)
    assert local.shown() == window.go(START)
    local.page.keyboard.press("Tab")
    local.page.click("select[name=operator]")
    local.page.select_option("select[name=operator]", "pool")
    local.page.wait_for_function("() => location.hash.includes('operator=pool')")
    context.close()
    local.assert_quiet()


def test_the_core_refuses_every_field_out_of_range(window: Window) -> None:
    """The front checks all numbers before it calls the core, which would abort."""
    script = (ROOT / "playground" / "page" / "core.js").read_text(encoding="utf-8")
    names = re.findall(r'"(\w+)"', script[script.index("const FIELDS") : script.index("];")])
    core = base64.b64encode((BUILT.parent / "playground-core" / "core.wasm").read_bytes()).decode()
    valid = dict.fromkeys(names, 0.0) | {"scale": 0.5, "bins_y": 2, "bins_x": 2, "channels": 1, "height": 4, "width": 4}
    valid |= {"x2": 3.0, "y2": 3.0, "bin": -1}
    wrong = [(name, text) for name in names for text in ("NaN", "Infinity", "1e300", "-1e300")]
    wrong += [
        (name, "0.5") for name in names if name not in ("offset", "minimum_length", "scale", "x1", "y1", "x2", "y2")
    ]
    wrong += [("bin", "4"), ("bins_y", "0"), ("channels", "0"), ("height", "513"), ("rule", "6")]
    wrong.remove(("minimum_length", "-1e300"))  # none
    answers = window.page.evaluate(
        """async ([core, names, valid, wrong]) => {
          const bytes = Uint8Array.from(atob(core), (letter) => letter.charCodeAt(0));
          const { instance } = await WebAssembly.instantiate(bytes, {
            env: { emscripten_notify_memory_growth() {} },
            wasi_snapshot_preview1: { proc_exit() {} },
          });
          const { exports } = instance;
          exports._initialize();
          const run = (fields) => {
            new Float64Array(exports.memory.buffer, exports.request_address(), names.length)
              .set(names.map((name) => Number(fields[name])));
            exports.map_address();
            return exports.run();
          };
          return [run(valid), ...wrong.map(([name, value]) => run({ ...valid, [name]: value })), run(valid)];
        }""",
        [core, names, valid, wrong],
    )
    assert answers[0] == answers[-1] == 0
    assert [names[answer - 1] for answer in answers[1:-1]] == [name for name, _ in wrong]


def test_chromium_is_found_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("ROIALIGN_CHROMIUM", raising=False)
    with pytest.raises(AssertionError, match="set ROIALIGN_CHROMIUM"), chromium():
        pass
