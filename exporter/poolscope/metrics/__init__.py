"""The catalogue of metric families, and the code that turns readings into Prometheus text."""
