"""Every link of the project's pages leads somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from release.links import broken_links, headings, pages
from tests.tables.paths import ROOT


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_the_pages_are_found() -> None:
    assert {ROOT / "README.md", ROOT / "docs" / "performance.md"} <= set(pages())


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One thing\n\n## One thing\n\n[a](#one-thing) [b](#one-thing-1) [c](other.md#there) [d](https://example.org/)\n"
        "[e](#one-thing-2) ![f](picture.png) [g](other.md#nowhere) `[h](code.md)` [i](../outside.md)\n"
        "```\n[j](code.md)\n```\n"
    )
    (tmp_path / "other.md").write_text("```\n# nowhere\n```\n### `There`!\n")
    assert broken_links(page, tmp_path) == [
        "page.md: #one-thing-2 leads to no heading of page.md",
        "page.md: picture.png leads to no file",
        "page.md: other.md#nowhere leads to no heading of other.md",
        "page.md: ../outside.md leads to no file",
    ]
    assert headings(tmp_path / "other.md") == {"there"}
