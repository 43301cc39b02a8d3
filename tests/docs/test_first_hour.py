"""The page of the first hour: what its commands say today is what stands there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from tests.tables.paths import DOCS


def test_the_commands_of_the_first_hour_say_what_the_page_says(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "first_hour.py"))
    today = "".join(script["page"](tmp_path))
    written = (DOCS / "first-hour.md").read_text(encoding="utf-8")
    assert script["alike"](today.rstrip()) == script["alike"](written)
    assert (tmp_path / "pictures/astronaut-detections.png").is_file()
    found = re.search(r"(\d+) objects in 1 image", today)
    assert found
    assert 5 <= int(found[1]) <= 8, "it has learnt its photograph"


def test_what_is_alike_is_more_than_nothing() -> None:
    alike = runpy.run_path(str(DOCS / "first_hour.py"))["alike"]
    assert alike("step 1 of 60: loss 4.383 (boxes 0.546), 0.70 s per step, 1 min 9 s left") == [
        "step # of #: loss # (boxes #), # s per step, # left"
    ]
    assert alike(" astronaut.png   7   helmet 1.00   x.png") == alike(" astronaut.png  6  face 0.97   x.png")
    assert alike("error: a") != alike("error: b")
