"""``python -m roialign`` runs the `roialign` command."""

from .commands.main import main

main()
