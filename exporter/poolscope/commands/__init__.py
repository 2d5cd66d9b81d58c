"""The commands of `poolscope`: a module each, with what it takes and what it does."""
