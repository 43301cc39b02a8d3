"""The page as its readers use it: mouse, keyboard and form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.playground.browser import Window
from tests.playground.states import START

if TYPE_CHECKING:
    from playwright.sync_api import Locator


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
