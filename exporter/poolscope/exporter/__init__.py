"""The standalone exporter: one address for all processes of a host."""
