"""What makes a release: wheels, the checks of them, and the check of everything else that a version needs."""
