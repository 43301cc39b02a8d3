"""Where things are in a clone."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PHOTOGRAPH, BOXES = EXAMPLES / "astronaut.png", EXAMPLES / "astronaut_boxes.csv"
GOLDEN = ROOT / "tests" / "golden"
DATA = ROOT / "tests" / "data"
