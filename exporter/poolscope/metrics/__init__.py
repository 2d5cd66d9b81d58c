"""The catalogue of metric families, and readings as Prometheus text."""
