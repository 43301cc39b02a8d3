"""Finds the input that a box belongs to, by file name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .._text import counted
from ..files.boxes import Box
from ..files.problems import Problems


class Match(NamedTuple):
    """The inputs that a name may mean, and how surely."""

    certainty: tuple[int, int]
    """How the file name matches: with its ending (2), without it (1) or as a number (0); and how many folders and files
    at the end of the path agree."""
    inputs: list[Path]


class InputNames:
    """The inputs of a run, found again by the names that box files give them.

    A name matches the input of the same file name; where several have it, the one whose folders agree the farthest:
    ``a/1.png`` matches ``photos/a/1.png`` rather than ``photos/b/1.png``. Where none has it, a name matches without
    its ending, so that the boxes of ``1.jpg`` find the feature map ``1.npy``; and a number matches the file that is
    numbered so: ``139`` is ``000000000139.jpg``.
    """

    def __init__(self, inputs: Sequence[Path]) -> None:
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._by_number: dict[str, list[Path]] = defaultdict(list)
        for path in inputs:
            self._by_name[path.name].append(path)
            self._by_stem[path.stem].append(path)
            if _is_number(path.stem):
                self._by_number[path.stem.lstrip("0")].append(path)

    def match(self, name: str) -> Match:
        parts = _parts(name)
        file_name = parts[-1] if parts else ""
        for how, table, key in (
            (2, self._by_name, file_name),
            (1, self._by_stem, Path(file_name).stem),
            (0, self._by_number, file_name.lstrip("0") if _is_number(file_name) else "no number"),
        ):
            if table.get(key):
                agreeing = [_agreeing_folders(parts, _parts(str(path.absolute()))) for path in table[key]]
                most = max(agreeing)
                inputs = [path for path, count in zip(table[key], agreeing, strict=True) if count == most]
                return Match((how, most), inputs)
        return Match((0, 0), [])


class Groups(NamedTuple):
    """The boxes of a file by the input that they belong to."""

    boxes: dict[Path, list[Box]]
    """Of every input, in the order of the file."""
    missing: list[Box]
    """Those of images that were not given, in the order of the file."""


def missing_text(missing: Sequence[Box]) -> str:
    """How many boxes are of images that were not given, and which is the first."""
    images = len({box.image for box in missing})
    boxes = counted(len(missing), "box is", "boxes are")
    return f"{boxes} of {counted(images, 'image')} that {'is' if images == 1 else 'are'} not among the inputs"


def group_by_input(boxes: Iterable[Box], inputs: Sequence[Path], problems: Problems) -> Groups:
    """The boxes of every input, and those of none; a box whose input is not certain goes to `problems`."""
    by_name: dict[str | None, list[Box]] = defaultdict(list)
    for box in boxes:
        by_name[box.image].append(box)
    groups: dict[Path, list[Box]] = {path: [] for path in inputs}
    nameless = by_name.pop(None, [])
    if nameless and len(inputs) == 1:
        groups[inputs[0]] += nameless
    elif nameless:
        found = f"a box without an image needs exactly one input, found {len(inputs)}"
        _report(nameless, f"{found}; --columns image=NAME says which column names it", problems)

    names = InputNames(inputs)
    missing: list[Box] = []
    claims: dict[Path, list[tuple[tuple[int, int], str]]] = defaultdict(list)
    for name in [name for name in by_name if name is not None]:
        match = names.match(name)
        if len(match.inputs) == 1:
            claims[match.inputs[0]].append((match.certainty, name))
        elif match.inputs:
            several = ", ".join(str(path) for path in match.inputs)
            _report(by_name[name], f"image {name!r} may be any of {several}; give more of its path", problems)
        else:
            missing += by_name[name]
    for path, claimants in claims.items():
        owner = _owner(path, claimants, by_name, missing, problems)
        groups[path] += by_name[owner] if owner is not None else []
    ordered = {path: sorted(group, key=lambda box: box.row) for path, group in groups.items()}
    return Groups(ordered, sorted(missing, key=lambda box: box.row))


def _owner(
    path: Path,
    claimants: list[tuple[tuple[int, int], str]],
    by_name: dict[str | None, list[Box]],
    missing: list[Box],
    problems: Problems,
) -> str | None:
    """Two images of a box file are never pooled from one input: the name that agrees the farthest has it."""
    most = max(certainty for certainty, _ in claimants)
    best = [name for certainty, name in claimants if certainty == most]
    for certainty, name in claimants:
        if certainty != most:
            missing += by_name[name]
        elif len(best) > 1:
            others = ", ".join(repr(other) for other in best if other != name)
            _report(by_name[name], f"image {name!r} may be {path}, and so may {others}; rename the input", problems)
    return best[0] if len(best) == 1 else None


def _report(rows: list[Box], what: str, problems: Problems) -> None:
    """One problem for all rows of an image: the first by its place, the others by their numbers."""
    others = [str(box.row) for box in rows[1:]]
    shown = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
    count = "" if not others else f" ({counted(len(others), 'more row')}: {shown})"
    problems.add(rows[0].where, what + count)


def _agreeing_folders(name: tuple[str, ...], path: tuple[str, ...]) -> int:
    """How many parts agree from the end; the file itself is known to."""
    count = 1
    for of_name, of_path in zip(reversed(name[:-1]), reversed(path[:-1]), strict=False):
        if of_name != of_path:
            break
        count += 1
    return count


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a path, whichever system wrote it."""
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
