"""How `make docs` makes a site of the pages in docs/."""
