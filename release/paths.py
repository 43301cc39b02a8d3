"""Where things are, and which version this is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def version(root: Path = ROOT) -> str:
    """The version in src/roialign/_version.py, which the build reads."""
    text = (root / "src" / "roialign" / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError('src/roialign/_version.py: expected a line __version__ = "..."')
    return found[1]
