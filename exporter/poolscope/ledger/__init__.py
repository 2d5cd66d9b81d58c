"""One pool's numbers, recorded without ever blocking."""
