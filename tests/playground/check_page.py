"""The page as its readers use it: mouse, touch, keyboard, the address, a phone, both colour schemes."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.playground.browser import BUILT, DESKTOP, PHONE, Window, chromium
from tests.playground.states import OPERATORS, SETTINGS, address
from tests.tables.paths import DOCS, ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

START = "map=ramp&operator=align&stride=64&bins=2x3&points=2&aligned=yes&box=100,60,300,200"
ROLES_WITH_NAMES = {"button", "combobox", "checkbox", "spinbutton", "img", "image", "link", "textbox"}

#: The ratio of the luminances of all text to what is behind it, and the text.
CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    if (!text || element.disabled || !element.checkVisibility() || element.tagName === "OPTION") continue;
    const [one, other] = [luminance(numbers(getComputedStyle(element).color)), luminance(behind(element))];
    found.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), text.slice(0, 40)]);
  }
  return found;
}"""


def drag(window: Window, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag the mouse between two places of the image."""
    mouse = window.page.mouse
    mouse.move(*window.place(*start))
    mouse.down()
    mouse.move(*window.place(*end), steps=4)
    mouse.up()


def corner(window: Window, name: str) -> Locator:
    return window.page.locator(f"button[data-handle={name}]")


def test_the_mouse_moves_resizes_and_draws_the_box(window: Window) -> None:
    window.go(START)
    drag(window, (200, 100), (220, 90))
    assert window.box() == pytest.approx([120, 50, 320, 190], abs=0.5)
    drag(window, (320, 190), (350, 250))
    assert window.box() == pytest.approx([120, 50, 350, 250], abs=0.5)
    drag(window, (120, 150), (90, 10))  # the left edge
    assert window.box() == pytest.approx([90, 50, 350, 250], abs=0.5)
    drag(window, (90, 50), (600, 700))  # no further than the opposite corner
    assert window.box() == pytest.approx([349, 249, 350, 250], abs=0.5)
    drag(window, (300, 350), (400, 100))  # beside the box: a new one
    assert window.box() == pytest.approx([300, 100, 400, 350], abs=0.5)
    drag(window, (350, 200), (-900, 200))  # no further than the image
    assert window.box() == pytest.approx([0, 100, 100, 350], abs=0.5)


def test_a_click_selects_the_bin_below_it(window: Window) -> None:
    shown = window.go(START)
    for x, y in ((120, 80), (280, 190)):
        window.page.mouse.click(*window.place(x, y))
        row, column = int((y - 60) // 70), int((x - 100) // (200 / 3))
        assert window.shown()["state"]["bin"] == [row, column]
    assert window.box() == shown["state"]["box"]
    window.page.mouse.click(*window.place(280, 190))
    assert window.shown()["state"]["bin"] is None


def test_the_keyboard_moves_and_resizes_the_box(window: Window) -> None:
    window.go(START)
    page, keys = window.page, window.page.keyboard
    page.locator("header a").focus()
    keys.press("Tab")
    assert page.evaluate("document.activeElement.className") == "move"
    for key, box in {
        "ArrowRight": [101, 60, 301, 200],
        "Shift+ArrowDown": [101, 70, 301, 210],
        "Alt+ArrowLeft": [100.9, 70, 300.9, 210],
        "Shift+ArrowUp": [100.9, 60, 300.9, 200],
    }.items():
        keys.press(key)
        assert window.box() == box, key
    for name, box in {
        "nw": [101.9, 61, 300.9, 200],
        "ne": [101.9, 62, 301.9, 200],
        "sw": [102.9, 62, 301.9, 201],
        "se": [102.9, 62, 302.9, 202],
    }.items():
        keys.press("Tab")
        assert page.evaluate("document.activeElement.dataset.handle") == name
        keys.press("ArrowRight")
        keys.press("ArrowDown")
        assert window.box() == box, name
        assert str(box[0] if "w" in name else box[2]) in str(corner(window, name).get_attribute("aria-label"))


def test_the_keyboard_selects_bins(window: Window) -> None:
    window.go(START)
    page, keys = window.page, window.page.keyboard
    page.locator("input[name=y2]").focus()
    keys.press("Tab")  # into the grid, which is one stop
    keys.press("Enter")
    assert window.shown()["state"]["bin"] == [0, 0]
    keys.press("ArrowRight")
    keys.press("ArrowDown")
    keys.press("ArrowDown")  # there is no row below
    assert window.shown()["state"]["bin"] == [1, 1]
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert "row 2, column 2" in page.locator("#bin").inner_text()
    keys.press("Tab")
    assert page.evaluate("document.activeElement.closest('#pool') !== null"), "the other grid is the next stop"
    keys.press("Escape")
    assert window.shown()["state"]["bin"] is None


def test_the_form_sets_everything(window: Window) -> None:
    page = window.page
    for name, value in {"operator": "align-max", "map": "hill", "stride": "32", "points": "3"}.items():
        page.select_option(f"select[name={name}]", value)
    page.select_option("select[name=rows]", "4")
    page.select_option("select[name=columns]", "5")
    page.uncheck("input[name=aligned]")
    for name, value in {"x1": "10.5", "y1": "20", "x2": "900", "y2": "200.3"}.items():
        page.fill(f"input[name={name}]", value)
        page.press(f"input[name={name}]", "Tab")
    assert page.locator("input[name=x2]").input_value() == "512", "the box stays in the image"
    expected = "map=hill&operator=align-max&stride=32&bins=4x5&points=3&aligned=no&box=10.5,20,512,200.3"
    assert window.shown()["hash"] == expected
    page.wait_for_function("(hash) => location.hash === '#' + hash", arg=expected)
    page.select_option("select[name=operator]", "pool")
    window.shown()
    assert page.locator("select[name=points]").is_disabled()
    assert page.locator("input[name=aligned]").is_disabled()
    assert page.locator("#pool-figure").is_hidden()
    page.click("#reset")
    assert window.shown()["state"]["operator"] == "align"


def test_a_number_that_is_being_typed_is_not_overwritten(window: Window) -> None:
    window.go(START)
    field = window.page.locator("input[name=x1]")
    field.fill("12")
    window.go(START.replace("align&", "pool&"))
    assert field.input_value() == "12"
    field.press("Enter")
    assert window.box()[0] == 12


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_state_survives_the_address(window: Window, setting: str) -> None:
    text = address("align-exact", setting)
    window.open(text)
    first = window.shown()
    assert first["hash"] == text
    window.page.keyboard.press("Tab")
    window.page.wait_for_timeout(350)  # the page writes its address when the reader pauses
    assert window.page.url == f"{window.address}#{text}"
    window.page.reload()
    window.page.wait_for_selector("body[data-ready]")
    assert window.shown() == first


@pytest.mark.parametrize(
    "text",
    [
        "stride=7",
        "bins=0x3",
        "bins=15x15",
        "points=7",
        "points=1.5",
        "aligned=maybe",
        "box=1,2,3",
        "box=1,2,3,x",
        "box=1,2,3,1e9",
        "operator=roi_align",
        "map=__proto__",
        "__proto__=1",
        "bin=1",
        "%",
        "operator=%E0%A4%A",
        "<script>alert(1)</script>",
    ],
)
def test_what_is_wrong_in_the_address_is_named_and_ignored(window: Window, text: str) -> None:
    window.open(f"map=hill&{text}")
    problem = window.page.locator("#problem")
    assert problem.is_visible()
    state = window.shown()["state"]
    assert (state["map"], state["operator"], state["stride"]) == ("hill", "align", 16)
    assert "not possible" in problem.inner_text()


def test_a_new_address_wins_over_one_that_is_about_to_be_written(window: Window) -> None:
    """The page writes its address after a pause. If the reader has just changed the address, it is read instead."""
    window.page.add_init_script(
        """const start = setTimeout;
        window.started = [];
        window.setTimeout = (action, time) => { started.push(action); return start(action, time); };"""
    )
    window.open(START)
    text = START.replace("stride=64", "stride=32")
    window.page.evaluate(
        """(text) => {
          const key = new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true });
          document.querySelector(".move").dispatchEvent(key);
          location.hash = text;
          started.at(-1)();  // the pause ends before the event `hashchange`
        }""",
        text,
    )
    window.page.wait_for_function("(text) => playground().hash === text", arg=text, timeout=5000)


def test_boxes_of_an_address_are_moved_into_the_image(window: Window) -> None:
    window.open("box=600,-5,-20,1000&bins=2x2&bin=5,5")
    assert window.box() == [0, 0, 512, 384]
    assert window.shown()["state"]["bin"] is None


def test_links_of_the_documentation_lead_to_what_they_say(window: Window) -> None:
    page = (DOCS / "playground.md").read_text(encoding="utf-8")
    states = re.findall(r'href="playground/index\.html#([^"]*)"', page)
    assert len(states) >= 5
    for state in states:
        window.open(state)
        assert window.page.locator("#problem").is_hidden(), state
        assert window.shown()["hash"] == state


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_phone_shows_the_page_without_scrolling_sideways(phone: Window, operator: str) -> None:
    for setting in ("the most bins", "one selected bin", "one pixel"):
        phone.go(address(operator, setting))
        width = phone.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width == [360, 360], setting
        small = phone.page.evaluate(
            """() => [...document.querySelectorAll("select, input[type=number], .buttons button, .box button")]
              .filter((element) => !element.matches(".move"))
              .map((element) => [element.getBoundingClientRect(), element.name || element.ariaLabel])
              .filter(([area]) => area.width < 24 || area.height < 24).map(([, name]) => name)"""
        )
        assert small == [], "targets of fingers have 24 pixels"


def test_a_finger_drags_the_box_and_scrolls_beside_it(phone: Window) -> None:
    phone.open(START)
    touch = phone.page.context.new_cdp_session(phone.page)

    def swipe(start: tuple[float, float], end: tuple[float, float]) -> None:
        (x, y), (to_x, to_y) = phone.place(*start), phone.place(*end)
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for step in range(1, 9):
            point = {"x": x + (to_x - x) * step / 8, "y": y + (to_y - y) * step / 8}
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        phone.page.wait_for_timeout(100)

    swipe((200, 130), (260, 100))
    assert phone.box() == pytest.approx([160, 30, 360, 170], abs=2)
    swipe((360, 170), (400, 300))
    assert phone.box() == pytest.approx([160, 30, 400, 300], abs=2)
    assert phone.page.evaluate("scrollY") == 0
    before = phone.box()
    swipe((40, 350), (40, 100))
    assert phone.box() == before
    phone.page.wait_for_timeout(300)
    assert phone.page.evaluate("scrollY") > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_both_colour_schemes(browser: Browser, address: str, scheme: Any) -> None:
    for options in (DESKTOP, PHONE):
        context = browser.new_context(color_scheme=scheme, **options)
        window = Window(context.new_page(), address)
        window.open(START + "&bin=1,1")
        contrasts = window.page.evaluate(CONTRASTS)
        assert len(contrasts) > 30
        assert [(round(ratio, 1), text) for ratio, text in contrasts if ratio < 4.5] == []
        picture = window.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--background')")
        assert (picture == "#ffffff") == (scheme == "light")
        context.close()
        window.assert_quiet()


def test_everything_that_can_be_used_has_a_name(window: Window) -> None:
    window.go(START + "&bin=0,1")
    tree = window.page.context.new_cdp_session(window.page).send("Accessibility.getFullAXTree")
    parts = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree["nodes"]
        if not node.get("ignored") and node.get("role", {}).get("value") in ROLES_WITH_NAMES
    ]
    assert {role for role, _ in parts} >= {"button", "combobox", "checkbox", "spinbutton"}
    assert [role for role, name in parts if not name.strip()] == []
    names = [name for _, name in parts]
    for expected in (
        "Operator",
        "Stride",
        "x1",
        "Box from 100, 60 to 300, 200",
        "Top left corner of the box, at 100, 60",
    ):
        assert expected in names


def test_the_answer_is_spoken_when_the_reader_pauses(window: Window) -> None:
    window.go(START)
    window.page.wait_for_timeout(350)
    assert window.page.locator("#spoken").get_attribute("aria-live") == "polite"
    assert "RoIPool" in window.page.locator("#spoken").inner_text()


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


def test_pictures_change_with_what_is_shown(window: Window) -> None:
    """Every part of the picture is drawn: without it, or in another state, the picture is another."""
    picture = "document.getElementById('picture').toDataURL()"
    window.go("map=photograph&operator=align&stride=32&bins=2x2&points=2&aligned=yes&box=100,60,300,200")
    drawn = [window.page.evaluate(picture)]
    for name in ("shows-points", "shows-gradient", "shows-map"):
        window.page.click(f"#{name}")
        window.shown()
        drawn.append(window.page.evaluate(picture))
    for change in ("points=1", "aligned=no", "bins=2x3", "operator=pool", "stride=16", "bin=0,1"):
        window.page.evaluate("(change) => { location.hash = `${playground().hash}&${change}`; }", change)
        window.page.wait_for_function("(change) => playground().hash.includes(change)", arg=change)
        window.shown()
        if change != "points=1":  # the points are not shown any more
            drawn.append(window.page.evaluate(picture))
    assert len(set(drawn)) == len(drawn)


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
