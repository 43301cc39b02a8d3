"""The `roialign` command line."""
