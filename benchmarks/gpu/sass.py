"""Parse machine code printed by nvdisasm: the number of instructions and of loads in each loop."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

LABEL = re.compile(r"^(\.L_x_\d+):")
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:(@!?U?P[T0-9]+)\s+)?([A-Z][A-Z0-9_.]*)([^;]*)")
TARGET = re.compile(r"`\((\.L_x_\d+)\)")


@dataclass(frozen=True)
class Body:
    """The code outside all loops, or the code of one loop without the loops inside it."""

    depth: int
    """0 outside all loops; 2 for a loop inside a loop."""
    instructions: int
    kinds: tuple[tuple[str, int], ...]
    """The count of each operation, by its name up to the first dot."""
    wide_loads: int
    """Loads of 16 bytes from global memory."""

    def number(self, kind: str) -> int:
        return dict(self.kinds).get(kind, 0)


@dataclass(frozen=True)
class Code:
    """The parts of a kernel: the code outside all loops, then its loops in order of their first instruction."""

    bodies: tuple[Body, ...]

    @property
    def instructions(self) -> int:
        return sum(body.instructions for body in self.bodies)

    def innermost(self) -> Body:
        """Return the longest loop of the largest depth."""
        return max(self.bodies, key=lambda body: (body.depth, body.instructions))


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
    for number, (begin, end) in enumerate(
        loops, 1
    ):  # Outer loops begin first, and inner loops take their own instructions.
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
    """Return where the code for diverged threads begins. Threads do not diverge here."""
    targets = [found.group(1) for _, name, rest in lines if name == "BRA.DIV" and (found := TARGET.search(rest))]
    return min((labels[target] for target in targets), default=len(lines))


def _loops(lines: list[tuple[str | None, str, str]], labels: dict[str, int]) -> list[tuple[int, int]]:
    """Return the first and last instruction of every loop. If loops begin together, the longest is used."""
    ends: dict[int, int] = {}
    for at, (_, name, rest) in enumerate(lines):
        found = TARGET.search(rest)
        if name == "BRA" and found:
            target = labels[found.group(1)]
            if target < at:  # not a forward jump, nor the trap after the end, which jumps to itself
                ends[target] = max(at, ends.get(target, 0))
    return sorted(ends.items(), key=lambda loop: (loop[0], -loop[1]))
