"""Finds the input of each box by its file name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .._text import counted, decoded
from ..files.boxes import Box
from ..files.orientation import Size
from ..files.problems import Problems
from ..files.similar import Spellings, composed, unescaped


class Match(NamedTuple):
    """The inputs that match a name, and the quality of the match."""

    quality: tuple[int, int]
    """How the file name matches: with its ending (2), without its ending (1), as a number (0), or only if escaped
    characters are read as what they mean (-1). Then, the number of equal parts at the end of the paths."""
    inputs: list[Path]


class InputNames:
    """Finds inputs by the names in box files.

    A name matches the input with the same file name. If there are several, it matches the one with the most equal
    folders: ``a/1.png`` matches ``photos/a/1.png`` rather than ``photos/b/1.png``. If there are none, the name is
    compared without endings: ``1`` and ``1.jpg`` match the feature map ``1.npy``. Digits are not an ending, so ``1.2``
    matches ``1.2.jpg``, and never ``1.jpg``. Otherwise, a number matches a file name with leading zeros: ``139``
    matches ``000000000139.jpg``. If nothing or several match, the name is read as part of an address: ``my%20cat.jpg``,
    ``file:///photos/my%20cat.jpg`` and Label Studio's ``/data/local-files/?d=my%20cat.jpg`` match ``my cat.jpg``.

    Names are compared in one Unicode form, because tables and folders often come from different systems. Of inputs that
    differ in nothing else, a name matches the one that is spelled like it.
    """

    def __init__(self, inputs: Sequence[Path]) -> None:
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._by_number: dict[str, list[Path]] = defaultdict(list)
        for path in inputs:
            self._by_name[composed(path.name)].append(path)
            self._by_stem[composed(path.stem)].append(path)
            if _is_number(path.stem):
                self._by_number[path.stem.lstrip("0")].append(path)

    def match(self, name: str) -> Match:
        match, path = self._match(name), unescaped(name)
        if len(match.inputs) == 1 or path == name:
            return match
        (_, parts), inputs = self._match(path)
        return Match((-1, parts), inputs) if len(inputs) == 1 or not match.inputs else match

    def _match(self, name: str) -> Match:
        spelled = _parts(name)
        parts = tuple(map(composed, spelled))
        file_name = parts[-1] if parts else ""
        for how, table, key in (
            (2, self._by_name, file_name),
            (1, self._by_stem, file_name),
            (1, self._by_stem, _without_ending(file_name)),
            (0, self._by_number, file_name.lstrip("0") if _is_number(file_name) else "no number"),
        ):
            if table.get(key):
                likenesses = [_likeness(spelled, _parts(str(path.absolute()))) for path in table[key]]
                most = max(likenesses)
                inputs = [path for path, likeness in zip(table[key], likenesses, strict=True) if likeness == most]
                return Match((how, most[0]), inputs)
        return Match((0, 0), [])


class Groups(NamedTuple):
    """The boxes of a file grouped by input."""

    boxes: dict[Path, list[Box]]
    """The boxes of every input, in the order of the file."""
    missing: list[Box]
    """The boxes of images that are not among the inputs, in the order of the file."""


def likely_input(name: str, groups: Groups) -> Path | None:
    """Return an input without boxes that `name` was probably meant to name; None if there is none."""
    free = [path for path, boxes in groups.boxes.items() if not boxes]
    file_name = Path(*_parts(name)[-1:])
    for own, others in ((file_name.name, [p.name for p in free]), (file_name.stem, [p.stem for p in free])):
        likely = Spellings(others).similar(own)
        if likely is not None:
            return free[others.index(likely)]
    return None


def missing_text(missing: Sequence[Box]) -> str:
    """Return the message about boxes of images that are not among the inputs."""
    images = len({box.image for box in missing})
    boxes = counted(len(missing), "box belongs", "boxes belong")
    return f"{boxes} to {counted(images, 'image')} that {'is' if images == 1 else 'are'} not among the inputs"


def group_by_input(boxes: Iterable[Box], inputs: Sequence[Path], problems: Problems) -> Groups:
    """Group boxes by input. A box whose input is ambiguous is added to `problems`.

    Names with the same parts, such as ``a/1.png`` and ``./a/1.png``, are those of one image, also if their letters are
    in different Unicode forms and no more than one input has the name.
    """
    by_name: dict[str | None, list[Box]] = defaultdict(list)
    for box in boxes:
        by_name[box.image].append(box)
    groups: dict[Path, list[Box]] = {path: [] for path in inputs}
    nameless = by_name.pop(None, [])
    if nameless and len(inputs) == 1:
        groups[inputs[0]] += nameless
    elif nameless:
        found = f"a box without an image needs exactly one input, got {len(inputs)}"
        _report(nameless, f"{found}; give the column that names the image with --columns image=NAME", problems)

    names = InputNames(inputs)
    matches: dict[str, Match] = {}
    spellings: dict[tuple[bool, tuple[str, ...], tuple[Path, ...]], str] = {}
    for name in [name for name in by_name if name is not None]:
        matches[name] = match = names.match(name)
        parts = tuple(map(composed, _parts(name)))
        first = spellings.setdefault((name.startswith(("/", "\\")), parts, tuple(match.inputs)), name)
        if first != name:
            by_name[first] += by_name.pop(name)

    missing: list[Box] = []
    claims: dict[Path, list[tuple[tuple[int, int], str]]] = defaultdict(list)
    for name in spellings.values():
        match = matches[name]
        if len(match.inputs) == 1:
            claims[match.inputs[0]].append((match.quality, name))
        elif match.inputs:
            several = ", ".join(str(path) for path in match.inputs)
            _report(by_name[name], f"image {name!r} matches each of {several}; give more of its path", problems)
        else:
            missing += by_name[name]
    for path, claimants in claims.items():
        owner = _owner(path, claimants, by_name, missing, problems)
        groups[path] += by_name[owner] if owner is not None else []
    ordered = {path: _of_one_size(sorted(group, key=lambda box: box.row), problems) for path, group in groups.items()}
    return Groups(ordered, sorted(missing, key=lambda box: box.row))


def _owner(
    path: Path,
    claimants: list[tuple[tuple[int, int], str]],
    by_name: dict[str | None, list[Box]],
    missing: list[Box],
    problems: Problems,
) -> str | None:
    """Return the name that matches an input best, because each input is used for one image of the box file only.

    Worse names are added to `missing`. If several names match equally well, they are added to `problems`.
    """
    most = max(quality for quality, _ in claimants)
    best = [name for quality, name in claimants if quality == most]
    for quality, name in claimants:
        if quality != most:
            missing += by_name[name]
        elif len(best) > 1:
            others = ", ".join(repr(other) for other in best if other != name)
            _report(by_name[name], f"image {name!r} matches {path}, and so does {others}; rename the input", problems)
    return best[0] if len(best) == 1 else None


def _of_one_size(boxes: list[Box], problems: Problems) -> list[Box]:
    """Return the boxes without those whose image has another size in the file than for the first of them.

    They were made on a resized or rotated image, and are added to `problems`.
    """
    by_size: dict[Size, list[Box]] = defaultdict(list)
    for box in boxes:
        if box.image_size is not None:
            by_size[box.image_size].append(box)
    if len(by_size) < 2:
        return boxes
    (size, [first, *_]), *others = by_size.items()
    for other, rows in others:
        expected, got = (f"{width}x{height}" for width, height in (size, other))
        what = f"image {rows[0].image!r}: expected {expected} pixels, as in {first.where}, got {got}"
        _report(rows, f"{what}; were the boxes made on a resized image?", problems)
    return [box for box in boxes if box.image_size in (None, size)]


def _report(rows: list[Box], what: str, problems: Problems) -> None:
    """Add one problem for all rows of an image, at the first row, with the indices of the other rows."""
    others = [str(box.row) for box in rows[1:]]
    shown = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
    count = "" if not others else f" ({counted(len(others), 'more row')}: {shown})"
    problems.add(rows[0].where, what + count)


def _likeness(name: tuple[str, ...], path: tuple[str, ...]) -> tuple[int, int, bool]:
    """How alike two paths are at the end: in one Unicode form, then as they are spelled. The file names match."""
    in_one_form = _equal_parts(tuple(map(composed, name)), tuple(map(composed, path)))
    stem = Path(path[-1]).stem
    return in_one_form, _equal_parts(name, path), stem in (name[-1], _without_ending(name[-1]))


def _equal_parts(name: tuple[str, ...], path: tuple[str, ...]) -> int:
    """Return the number of equal parts at the end of two paths. The file names are known to match."""
    count = 1
    for of_name, of_path in zip(reversed(name[:-1]), reversed(path[:-1]), strict=False):
        if of_name != of_path:
            break
        count += 1
    return count


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _without_ending(file_name: str) -> str:
    """Return a file name without its ending. It may be an id without one, such as ``scan.2``."""
    path = Path(file_name)
    return file_name if path.suffix[1:].isdigit() else path.stem


def _parts(name: str) -> tuple[str, ...]:
    """Split a path of any operating system into folders and file name. It may be escaped, as in results."""
    return tuple(part for part in decoded(name).replace("\\", "/").split("/") if part not in ("", "."))
