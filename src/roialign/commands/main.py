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
        name = error.name or ""
        if name.partition(".")[0] in ("", "roialign"):
            raise
        if "pip install" in str(error):  # as `require` says it
            sys.exit(f"error: {error}")
        part = part_of(name)
        text = missing_text(part) if part else ""
        sys.exit(f"error: {text or f'{error}: a package that is installed needs it'}")


if __name__ == "__main__":
    main()
