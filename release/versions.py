"""Every place that states the version, and the changelog's part about it.

python -m release.versions           # what they say
python -m release.versions 0.2.0     # makes them all say that, and the changelog's news those of that version
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

from .paths import ROOT, version

#: By file, the line that states the version; src/roialign/_version.py is the one that the build reads.
PLACES = {
    "src/roialign/_version.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "release/conda/recipe.yaml": r'^  version: "(.+)"$',
}
CHANGELOG = "CHANGELOG.md"
UNRELEASED = "## [Unreleased]"
#: Major, minor and patch, and what may stand behind them before a release: 1.2.3, 1.2.3rc1.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((a|b|rc)\d+)?")


def stated(root: Path = ROOT) -> dict[str, str]:
    """What every place says; empty where it says nothing."""
    found = {}
    for name, pattern in PLACES.items():
        match = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        found[name] = match[1] if match else ""
    return found


def version_problems(root: Path = ROOT) -> list[str]:
    """Where a place says another version than the package, and where the changelog says nothing of it."""
    wanted = version(root)
    found = [
        f"{name}: expected version {wanted}, got {got or 'none'}" for name, got in stated(root).items() if got != wanted
    ]
    if VERSION.fullmatch(wanted) is None:
        found.append(f"{wanted} is no version such as 1.2.3 or 1.2.3rc1")
    return found


def changelog_problems(root: Path = ROOT) -> list[str]:
    """What keeps the changelog from being that of a release."""
    wanted = version(root)
    parts = changelog_parts((root / CHANGELOG).read_text(encoding="utf-8"))
    found = []
    if parts.get("Unreleased", "").strip():
        found.append(
            f"{CHANGELOG}: what stands under Unreleased belongs under a version: make release VERSION={wanted}"
        )
    dated = [title for title in parts if re.fullmatch(rf"{re.escape(wanted)} - \d{{4}}-\d\d-\d\d", title)]
    if not dated:
        found.append(f"{CHANGELOG}: expected a heading ## [{wanted}] - YEAR-MONTH-DAY")
    elif not parts[dated[0]].strip():
        found.append(f"{CHANGELOG}: nothing stands under {wanted}")
    return found


def changelog_parts(text: str) -> dict[str, str]:
    """What stands under every heading, by its title without brackets: "Unreleased", "1.2.3 - 2030-01-31"."""
    pieces = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return {re.sub(r"[\[\]]", "", title).strip(): body for title, body in zip(pieces[::2], pieces[1::2], strict=True)}


def set_version(wanted: str, root: Path = ROOT, today: datetime.date | None = None) -> None:
    """Make every place state a version, and give the changelog's unreleased news to it.

    Raises
    ------
    ValueError
        If that is no version, if a place has no line for it, or if there is no news. Nothing is written then.
    """
    if VERSION.fullmatch(wanted) is None:
        raise ValueError(f"expected a version such as 1.2.3 or 1.2.3rc1, got {wanted!r}")
    texts = {}
    for name, pattern in PLACES.items():
        text = (root / name).read_text(encoding="utf-8")
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            raise ValueError(f"{name}: expected a line that states the version: {pattern}")
        texts[name] = text[: match.start(1)] + wanted + text[match.end(1) :]
    news = (root / CHANGELOG).read_text(encoding="utf-8")
    if not changelog_parts(news).get("Unreleased", "").strip():
        raise ValueError(f"{CHANGELOG}: nothing stands under Unreleased, so there is nothing to release")
    date = today or datetime.datetime.now(datetime.timezone.utc).date()
    texts[CHANGELOG] = news.replace(UNRELEASED, f"{UNRELEASED}\n\n## [{wanted}] - {date.isoformat()}", 1)
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.versions", description=__doc__.splitlines()[0])
    parser.add_argument("version", nargs="?", help="what all places are to say from now on")
    wanted = parser.parse_args().version
    if wanted is not None:
        try:
            set_version(wanted)
        except ValueError as error:
            sys.exit(f"error: {error}")
    for name, got in stated().items():
        print(f"{got or 'none':12} {name}")


if __name__ == "__main__":
    main()
