"""The words: what can be said of a pool, and nothing of how it is found out."""
