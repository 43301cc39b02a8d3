"""The `roialign` command; `pip install 'roialign[cli]'` brings what it needs."""

from __future__ import annotations

import sys

#: The packages of the extra, by the names they are imported under.
EXTRA_MODULES = ("typer", "rich", "PIL", "matplotlib")


def main() -> None:
    """Run the command line, or say in one line what is missing for it."""
    try:
        from .extract.app import app

        app()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA_MODULES:
            raise
        sys.exit(f"roialign: {missing} is not installed; install the command line: pip install 'roialign[cli]'")


if __name__ == "__main__":
    main()
