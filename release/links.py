"""Links of the project's own pages: files and headings that they lead to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .paths import ROOT

#: A link of Markdown, a picture too: [text](target).
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
#: What is code is no link.
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def pages(root: Path = ROOT) -> list[Path]:
    """Every page of the repository."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()
    return [root / name for name in listed if (root / name).exists()]


def broken_links(page: Path, root: Path = ROOT) -> list[str]:
    """The links of one page that lead to no file, or to no heading of it; links to other places are not followed."""
    found = []
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or not file.resolve().is_relative_to(root.resolve()):
            found.append(f"{page.relative_to(root)}: {target} leads to no file")
        elif heading and heading not in headings(file):
            found.append(f"{page.relative_to(root)}: {target} leads to no heading of {name or page.name}")
    return found


def headings(page: Path) -> set[str]:
    """The names that a page's headings have in links: small letters, hyphens for spaces, nothing else but digits."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    names: set[str] = set()
    for title in re.findall(r"^#{1,6} +(.+?)\s*$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number = sum(other == name or re.fullmatch(f"{re.escape(name)}-[0-9]+", other) is not None for other in names)
        names.add(f"{name}-{number}" if number else name)
    return names
