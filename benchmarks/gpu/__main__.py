"""``python -m benchmarks.gpu run``, ``tune`` and so on run the modules here. Without a command, `measure` runs."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = ("run", "tune", "measure", "predict", "candidates", "compiling", "profile", "prepare")


def main() -> int:
    words = sys.argv[1:]
    name = words.pop(0) if words and words[0] in COMMANDS else "measure"
    code: int = import_module(f".{name}", __package__).main(words)
    return code


raise SystemExit(main())
