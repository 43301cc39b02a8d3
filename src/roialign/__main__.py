"""``python -m roialign`` is the `roialign` command."""

from .commands.main import main

main()
