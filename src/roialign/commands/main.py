"""The `roialign` command: runs the command line, or says what is missing for it."""

from __future__ import annotations

import sys

from .._extras import missing_text, part_of


def main() -> None:
    """Run the command line, or say in one line what is missing for it."""
    try:
        from .app import app

        app(prog_name="roialign")
    except ModuleNotFoundError as error:
        if sys.argv[1:] == ["doctor"]:  # says what is missing, all of it
            from .doctor import examine

            sys.exit(examine())
        part = part_of(error.name or "")
        text = missing_text(part) if part else ""
        if not text:
            raise
        sys.exit(f"error: {text}")


if __name__ == "__main__":
    main()
