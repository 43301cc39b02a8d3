"""A page in headless Chromium, with what it printed and what it asked for."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.tables.paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BUILT = Path(os.environ.get("ROIALIGN_PLAYGROUND", ROOT / "build" / "playground"))
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}

#: The page's state and results, with plain lists in place of its arrays.
SHOWN = """() => {
  const plain = (value) =>
    value instanceof Float64Array ? Array.from(value)
      : value !== null && typeof value === "object" && !Array.isArray(value)
        ? Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]))
        : value;
  return plain(playground());
}"""


class Window:
    """One window with the page. After use, `assert_quiet` says whether the page printed or fetched anything else."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.messages: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, state: str = "") -> None:
        """Open the page anew."""
        self.page.goto("about:blank")
        self.page.goto(self.address + (f"#{state}" if state else ""))
        self.page.wait_for_selector("body[data-ready]")

    def go(self, state: str) -> Any:
        """Change the address to a state, and return what the page then shows."""
        self.page.evaluate("(state) => { location.hash = state; }", state)
        self.page.wait_for_function("(state) => playground().hash === state", arg=state)
        return self.shown()

    def shown(self) -> Any:
        """What the page shows, after it has drawn what was changed."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.page.evaluate(SHOWN)

    def box(self) -> list[float]:
        return [float(value) for value in self.shown()["state"]["box"]]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A place of the image, in image pixels, on the screen."""
        area = self.page.locator("#layer").bounding_box()
        assert area is not None
        return area["x"] + x * area["width"] / 512, area["y"] + y * area["height"] / 384

    def assert_quiet(self) -> None:
        assert self.messages == []
        folder = self.address.rsplit("/", 1)[0]
        elsewhere = [url for url in self.requests if not url.startswith((folder, "about:blank", "data:"))]
        assert elsewhere == []


def features_of(shown: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The map of a page as an array [1, C, H, W]."""
    found = shown["map"]
    return np.array(found["values"], dtype=np.float64).reshape(1, found["channels"], found["height"], found["width"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, that of ROIALIGN_CHROMIUM or the one installed."""
    from playwright.sync_api import sync_playwright

    program = os.environ.get("ROIALIGN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert program is not None, "no Chromium was found: install it, or set ROIALIGN_CHROMIUM to its path"
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if is_root else [])
        yield browser
        browser.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the base class
        del format, args


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on a local server."""
    assert (folder / "index.html").exists(), f"{folder} has no page: run make playground"
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
