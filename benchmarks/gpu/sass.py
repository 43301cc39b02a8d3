"""Machine code, as nvdisasm prints it: how many instructions each loop has, and which of them load."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

LABEL = re.compile(r"^(\.L_x_\d+):")
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:(@!?U?P[T0-9]+)\s+)?([A-Z][A-Z0-9_.]*)([^;]*)")
TARGET = re.compile(r"`\((\.L_x_\d+)\)")
WIDE_LOAD = "LDG.E.128"


@dataclass(frozen=True)
class Body:
    """What runs once: outside of all loops, or at every turn of one, without the loops within it."""

    depth: int
    """0 outside of loops; a loop within a loop has 2."""
    instructions: int
    kinds: tuple[tuple[str, int], ...]
    """How many of each operation, by its name up to the first dot."""
    wide_loads: int
    """Of 16 bytes, from global memory."""

    def number(self, kind: str) -> int:
        return dict(self.kinds).get(kind, 0)


@dataclass(frozen=True)
class Code:
    """A kernel's: what runs once, then its loops as they begin."""

    bodies: tuple[Body, ...]

    @property
    def instructions(self) -> int:
        return sum(body.instructions for body in self.bodies)

    def innermost(self) -> Body:
        """Of the deepest loop, the longest."""
        return max(self.bodies, key=lambda body: (body.depth, body.instructions))

    def at_depth(self, depth: int) -> int:
        """Instructions of all loops of a depth."""
        return sum(body.instructions for body in self.bodies if body.depth == depth)


def read_code(text: str) -> Code:
    labels: dict[str, int] = {}
    lines: list[tuple[str | None, str, str]] = []
    for line in text.splitlines():
        if found := LABEL.match(line):
            labels[found.group(1)] = len(lines)
        elif found := INSTRUCTION.search(line):
            lines.append((found.group(1), found.group(2), found.group(3)))
    lines = lines[: _end(lines, labels)]
    loops = _loops(lines, labels)
    owner = [0] * len(lines)
    for number, (begin, end) in enumerate(loops, 1):  # outer loops begin first, and inner ones take their own
        for index in range(begin, end + 1):
            owner[index] = number
    depths = [0, *(sum(b <= begin and end <= e for b, e in loops) for begin, end in loops)]
    bodies = []
    for number, depth in enumerate(depths):
        own = [lines[index][1] for index in range(len(lines)) if owner[index] == number]
        own = [name for name in own if name != "NOP"]
        kinds = Counter(name.split(".")[0] for name in own)
        wide = sum(name.startswith("LDG") and ".128" in name for name in own)
        bodies.append(Body(depth, len(own), tuple(sorted(kinds.items())), wide))
    return Code(tuple(bodies))


def _end(lines: list[tuple[str | None, str, str]], labels: dict[str, int]) -> int:
    """Where it begins what threads do one by one, if they have gone apart, which they do not here."""
    targets = [found.group(1) for _, name, rest in lines if name == "BRA.DIV" and (found := TARGET.search(rest))]
    return min((labels[target] for target in targets), default=len(lines))


def _loops(lines: list[tuple[str | None, str, str]], labels: dict[str, int]) -> list[tuple[int, int]]:
    """First and last instruction of every loop; of loops that begin together the longest."""
    ends: dict[int, int] = {}
    for at, (_, name, rest) in enumerate(lines):
        found = TARGET.search(rest)
        if name == "BRA" and found:
            target = labels[found.group(1)]
            if target < at:  # not forward, nor the trap behind the end, which jumps to itself
                ends[target] = max(at, ends.get(target, 0))
    return sorted(ends.items(), key=lambda loop: (loop[0], -loop[1]))
