"""One package for each pool library, all with the same modules, and what the packages share."""
