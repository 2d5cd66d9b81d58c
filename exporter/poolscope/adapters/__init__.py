"""One package for each library, with the same modules in each, and what they share."""
