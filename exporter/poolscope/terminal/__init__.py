"""The pools in a terminal: `poolscope top`."""
