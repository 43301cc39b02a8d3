"""The `roialign` command; `pip install 'roialign[cli]'` brings what it needs, `roialign[detection]` its detectors."""

from __future__ import annotations

import sys

#: The packages of the extras, by the names they are imported under, and what each extra is.
EXTRA_MODULES = {
    **dict.fromkeys(("typer", "rich", "PIL", "matplotlib"), ("cli", "the command line")),
    **dict.fromkeys(("torch", "pycocotools", "sklearn", "tensorboard"), ("detection", "the detectors")),
    "timm": ("timm", "timm's backbones"),
}


def main() -> None:
    """Run the command line, or say in one line what is missing for it."""
    try:
        from .app import app
        from .detection import add_commands

        add_commands(app)
        app()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA_MODULES:
            raise
        extra, what = EXTRA_MODULES[missing]
        sys.exit(f"roialign: {missing} is not installed; install {what}: pip install 'roialign[{extra}]'")


if __name__ == "__main__":
    main()
