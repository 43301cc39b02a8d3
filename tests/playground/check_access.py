"""The page on a phone, in both colour schemes, and for screen readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.playground.browser import DESKTOP, PHONE, Window
from tests.playground.states import OPERATORS, START, address

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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


def kept(address: str, theme: str | None) -> Any:
    """What the browser keeps for the site of the page, of which the switch of the site saves the theme."""
    kept = [] if theme is None else [{"name": "theme", "value": theme}]
    return {"cookies": [], "origins": [{"origin": address.rsplit("/", 1)[0], "localStorage": kept}]}


@pytest.mark.parametrize(
    ("system", "theme", "scheme"),
    [
        ("light", None, "light"),
        ("dark", None, "dark"),
        ("light", "auto", "light"),
        ("dark", "auto", "dark"),
        ("light", "dark", "dark"),
        ("dark", "light", "light"),
        ("dark", "sepia", "dark"),
    ],
)
def test_text_is_legible_in_both_colour_schemes(
    browser: Browser, address: str, system: Any, theme: str | None, scheme: str
) -> None:
    for options in (DESKTOP, PHONE):
        context = browser.new_context(color_scheme=system, storage_state=kept(address, theme), **options)
        window = Window(context.new_page(), address)
        window.open(START + "&bin=1,1")
        contrasts = window.page.evaluate(CONTRASTS)
        assert len(contrasts) > 30
        assert [(round(ratio, 1), text) for ratio, text in contrasts if ratio < 4.5] == []
        picture = window.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--background')")
        assert picture == {"light": "#ffffff", "dark": "#131820"}[scheme]
        assert window.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == scheme
        context.close()
        window.assert_quiet()


def test_the_page_follows_a_switch_to_another_theme(browser: Browser, address: str) -> None:
    """On the site in another tab, and of the system. The canvas is drawn again, in the colours of the theme."""
    context = browser.new_context(color_scheme="light", storage_state=kept(address, "auto"), **DESKTOP)
    window, other = Window(context.new_page(), address), context.new_page()
    window.open(START)
    other.goto(address)

    def drawn() -> tuple[Any, Any]:
        window.shown()
        theme = window.page.evaluate("document.documentElement.dataset.theme")
        return theme, window.page.evaluate("document.querySelector('#picture').toDataURL()")

    light = drawn()
    other.evaluate("localStorage.setItem('theme', 'dark')")
    window.page.wait_for_selector("[data-theme=dark]")
    dark = drawn()
    assert (light[0], dark[0]) == ("light", "dark")
    assert light[1] != dark[1], "the taps have another colour"
    other.evaluate("localStorage.setItem('theme', 'auto')")
    window.page.wait_for_selector("[data-theme=light]")
    assert drawn() == light
    window.page.emulate_media(color_scheme="dark")
    window.page.wait_for_selector("[data-theme=dark]")
    assert drawn() == dark
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
