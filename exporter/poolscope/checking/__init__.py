"""Known mistakes in how pools are used, as the result of a check: for builds, and for pytest."""
