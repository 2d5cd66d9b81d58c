"""The standalone exporter, which serves the metrics of all processes of a host."""
