"""The entry point of the `roialign` command."""

from __future__ import annotations

import sys

from .._extras import missing_text, part_of


def main() -> None:
    """Run the command line. If a package is missing, print one line that says how to install it."""
    try:
        from .app import app

        app(prog_name="roialign")
    except ModuleNotFoundError as error:
        if sys.argv[1:] == ["doctor"]:  # it lists all missing packages
            from .doctor import examine

            sys.exit(examine())
        name = error.name or ""
        if name.partition(".")[0] in ("", "roialign"):
            raise
        if "pip install" in str(error):  # raised by `require`
            sys.exit(f"error: {error}")
        part = part_of(name)
        text = missing_text(part) if part else ""
        sys.exit(f"error: {text or f'{error}: an installed package needs it'}")


if __name__ == "__main__":
    main()
