"""The state in the address: written, read, shared, and wrong."""

from __future__ import annotations

import re

import pytest

from tests.playground.browser import Window
from tests.playground.states import SETTINGS, START, address
from tests.tables.paths import DOCS


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
