"""Put docs/localisation.md together from the reports of both experiments."""

from __future__ import annotations

from pathlib import Path

from .page import write_page
from .report import read_report
from .rotated_page import section

PAGE, REPORT, ROTATED_REPORT = "localisation.md", "localisation.json", "localisation_rotated.json"


def whole_page(folder: Path) -> str:
    """Return the text of the page for the reports in a folder. The report on rotated boxes may be missing."""
    rotated = folder / ROTATED_REPORT
    return write_page(read_report(folder / REPORT), [section(read_report(rotated))] if rotated.exists() else [])
