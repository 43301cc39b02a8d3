"""`make demo`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.tables.paths import EXAMPLES


def test_the_demonstration_names_regions_and_draws_three_pictures(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "error", str(EXAMPLES / "demo.py"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    pictures = ["regions.png", "roi_align.png", "sliding_box.png"]
    assert sorted(os.listdir(tmp_path)) == ["features", "features.npz", "grid", "photographs", *pictures]
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for image, region, name, least in (
        ("camera", "tripod", "tripod", 90),
        ("astronaut", "helmet", "football helmet", 90),
        ("coffee", "cup of coffee", "espresso", 80),
        ("china", "lake", "lakeside", 20),
    ):
        (row,) = [row for row in rows if row.startswith(f"{image}.jpg {region} {name} ")]
        assert int(row.split()[-1].removesuffix("%")) >= least
    assert "shuttle model" in done.stdout
    jump, glide = re.findall(r"RoIPool by up to (\S+) grey levels, RoIAlign by (\S+)", done.stdout)[0]
    assert float(jump) > 20 * float(glide)
