"""`poolscope.watch`, the set of what is watched, and what a watch asks of an adapter."""
