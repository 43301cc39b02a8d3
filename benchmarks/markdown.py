"""The tables as Markdown, written between markers in a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .peers import PEERS, TOO_MUCH
from .results import Report
from .tables import Row, cells, compare_ours, comparison_table, group_rows, header, make_rows, peer_names
from .workloads import WORKLOADS

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"


def render(report: Report) -> str:
    """Return all text between the markers."""
    rows = make_rows(report)
    parts = [_machine(report), _workloads(rows), *_results(rows), _itself(rows), _missing(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def insert(page: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """Return the page with `text` between its markers. If the page has no markers, add them at its end."""
    if begin not in page:
        page = page.rstrip("\n") + f"\n\n{begin}\n{end}\n"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"page: expected {end} after {begin}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def write_between(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace the text between the markers of a page."""
    path.write_text(insert(path.read_text(), text, begin, end))


def write_page(path: Path, report: Report) -> None:
    write_between(path, render(report))


def _machine(report: Report) -> str:
    machine, settings = report.machine, report.settings
    speed = ", ".join(
        f"{value / 1e9:.1f} GB/s with {threads} thread{'' if threads == '1' else 's'}"
        for threads, value in report.bandwidth.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return "\n".join(
        [
            f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
            f"{machine['system']}; a copy of a large array runs at {speed} (bytes read and written).",
            f"Versions: {versions}, Python {machine['python']}, NumPy {machine['numpy']}.",
            f"{settings['date']}; medians of up to {settings['rounds']} interleaved rounds.",
        ]
    )


def _workloads(rows: list[Row]) -> str:
    names = dict.fromkeys(row.case.workload for row in rows)
    lines = [[name, WORKLOADS[name].summary, WORKLOADS[name].shape] for name in names if name in WORKLOADS]
    return table(["workload", "what", "shape"], lines)


def _results(rows: list[Row]) -> list[str]:
    """Return a table for every workload and direction."""
    parts = [
        "Milliseconds per call. Brackets show our time as a multiple of the floor, and a peer's time as a "
        "multiple of ours."
    ]
    for workload, direction, members in group_rows(rows):
        names = peer_names(members)
        parts.append(f"**{workload}, {direction}**")
        parts.append(table(header(names), [cells(row, names) for row in members]))
    return parts


def _itself(rows: list[Row]) -> str:
    comparisons = compare_ours(rows)
    if not comparisons:
        return ""
    return "roialign compared with itself:\n\n" + table(*comparison_table(comparisons))


def _missing(report: Report) -> str:
    lines = [
        f"- {name} ({PEERS[name].summary}): not measured, {reason}" for name, reason in report.not_measured.items()
    ]
    measured = {item.entry.case.workload for item in report.measurements}
    lines += [f"- {name}: {reason}" for name, reason in TOO_MUCH.items() if name in measured]
    return "\n".join(lines)


def table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(map(line, [titles, ["---"] * len(titles), *lines]))


def line(cells: Sequence[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(cells) + " |"
