"""Draw docs/playground.png, the page in Chromium: `python -m tests.playground.picture`."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.playground.browser import BUILT, Window, chromium, served
from tests.tables.paths import DOCS

#: A view in which the outputs of RoIAlign and RoIPool are easy to tell apart.
STATE = "map=photograph&operator=align&stride=16&bins=7x7&points=2&aligned=yes&box=163,52,297,200&bin=3,2"


def main(path: Path) -> None:
    with chromium() as browser, served(BUILT) as address:
        context = browser.new_context(viewport={"width": 1200, "height": 860}, color_scheme="light")
        window = Window(context.new_page(), address)
        window.open(STATE)
        window.shown()
        picture = window.page.locator("main").screenshot()
        context.close()
    with Image.open(io.BytesIO(picture)) as shot:
        shot.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)


if __name__ == "__main__":
    main(DOCS / "playground.png")
