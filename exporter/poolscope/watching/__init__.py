"""`poolscope.watch`, the set of all watches, and what a watch needs of an adapter."""
