"""The measurements as table rows: ours compared with the peers, and ours with itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .cases import SAMPLED, Case
from .peers import OURS, PEERS
from .results import Measurement, Report

#: Shown in empty cells.
NOTHING = "-"


@dataclass
class Row:
    """One case: the milliseconds of ours and of every peer, and the floor."""

    case: Case
    reused: Measurement | None
    fresh: Measurement | None
    floor: float | None
    peers: dict[str, Measurement] = field(default_factory=dict)

    @property
    def best(self) -> Measurement | None:
        """Our time with reused memory, or with fresh memory if reuse is not possible."""
        return self.reused or self.fresh


def make_rows(report: Report) -> list[Row]:
    """Return a row for every case of ours, in the order of the report."""
    cases = dict.fromkeys(item.entry.case for item in report.measurements if item.entry.peer == OURS)
    order = list(dict.fromkeys(case.workload for case in cases))
    rows = []
    for case in sorted(cases, key=lambda case: order.index(case.workload)):
        floor = report.floor(replace(case, layout="any"))
        row = Row(
            case,
            report.find(OURS, case, "reused"),
            report.find(OURS, case, "fresh"),
            floor.milliseconds if floor else None,
        )
        for name, peer in PEERS.items():
            layout = case.layout if peer.is_ours else peer.layouts[0]
            found = report.find(name, replace(case, layout=layout))
            if name != OURS and found is not None:
                row.peers[name] = found
        rows.append(row)
    return rows


def group_rows(rows: list[Row]) -> list[tuple[str, str, list[Row]]]:
    """Group rows by workload, direction and operator, in order of first appearance, with fewer threads first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.case.workload, _what(row.case)), []).append(row)
    return [(*key, sorted(members, key=lambda row: row.case.threads)) for key, members in groups.items()]


def _what(case: Case) -> str:
    return case.direction if case.operator == "mean" else f"{case.operator}, {case.direction}"


def peer_names(rows: list[Row]) -> list[str]:
    """Return the peers that appear in any row."""
    return [name for name in PEERS if any(name in row.peers for row in rows)]


def cells(row: Row, names: list[str]) -> list[str]:
    """Return a row as text, without its workload and direction. See `header`."""
    best = row.best
    measured = milliseconds(best)
    over = measured / row.floor if measured is not None and row.floor else None
    share = best.summary.cpu_over_wall if best is not None and best.summary is not None else None
    return [
        str(row.case.threads),
        row.case.layout,
        row.case.dtype,
        row.case.sampling,
        _time(row.reused),
        _time(row.fresh),
        NOTHING if share is None else f"{share:.2f}",
        NOTHING if row.floor is None else number(row.floor) + (f" ({over:.1f}x)" if over is not None else ""),
        *(_peer(row.peers.get(name), row) for name in names),
    ]


def header(names: list[str]) -> list[str]:
    return ["threads", "layout", "type", "points", "ours, reused", "ours, fresh", "CPU/wall", "floor", *names]


def milliseconds(measurement: Measurement | None) -> float | None:
    return None if measurement is None or measurement.summary is None else measurement.summary.median


def number(value: float) -> str:
    """Format milliseconds with three digits."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.3g}"


def _time(measurement: Measurement | None) -> str:
    value = milliseconds(measurement)
    if measurement is None:
        return NOTHING
    return _reason(measurement) if value is None else number(value)


def _peer(measurement: Measurement | None, row: Row) -> str:
    """Format a peer's milliseconds, and their multiple of our time with the same kind of output."""
    value = milliseconds(measurement)
    if measurement is None:
        return NOTHING
    if value is None:
        return _reason(measurement)
    same_output = row.fresh if measurement.entry.output == "fresh" else row.reused
    ours = milliseconds(same_output or row.best)
    return number(value) if not ours else f"{number(value)} ({value / ours:.1f}x)"


def _reason(measurement: Measurement) -> str:
    if measurement.status == "wrong answer":
        return "wrong answer" if measurement.error is None else f"wrong by {measurement.error:.0e}"
    return measurement.status


@dataclass(frozen=True)
class Comparison:
    """One case of ours compared with other cases of ours: ratios by what they compare."""

    case: Case
    ratios: dict[str, float]


def compare_ours(rows: list[Row]) -> list[Comparison]:
    """Compare exact sampling, backward, half types, more threads and fresh memory with the plain case.

    Backward writes to fresh memory, so it is compared with a forward pass into fresh memory.
    """
    best = {row.case: value for row in rows if (value := milliseconds(row.best)) is not None}
    fresh = {row.case: value for row in rows if (value := milliseconds(row.fresh)) is not None}
    fewest = min((case.threads for case in best), default=1)
    found = []
    for case, value in best.items():
        plain = replace(case, sampling="S2") if case.sampling == "exact" else case
        single = replace(case, threads=fewest)
        ratios = {
            "over S2": _ratio(value, best.get(plain), case != plain),
            "over forward": _ratio(value, fresh.get(replace(case, direction="forward")), case.direction != "forward"),
            "over roi_align": _ratio(value, best.get(replace(case, operator="mean")), case.operator in SAMPLED[1:]),
            "over float32": _ratio(value, best.get(replace(case, dtype="float32")), case.dtype != "float32"),
            "fresh over reused": _ratio(fresh.get(case), value, case.direction == "forward"),
            f"speed-up over {fewest} thread{'' if fewest == 1 else 's'}": _ratio(
                best.get(single), value, case != single
            ),
        }
        measured = {label: ratio for label, ratio in ratios.items() if ratio is not None}
        if measured:
            found.append(Comparison(case, measured))
    return found


def comparison_table(comparisons: list[Comparison]) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the lines of a table with a column for every ratio."""
    labels = list(dict.fromkeys(label for item in comparisons for label in item.ratios))
    lines = [
        [
            *(item.case.workload, item.case.layout, item.case.dtype, _what(item.case), item.case.sampling),
            str(item.case.threads),
            *(f"{item.ratios[label]:.2f}" if label in item.ratios else NOTHING for label in labels),
        ]
        for item in comparisons
    ]
    return ["workload", "layout", "type", "what", "points", "threads", *labels], lines


def _ratio(above: float | None, below: float | None, wanted: bool) -> float | None:
    return above / below if wanted and above is not None and below else None
