"""Alerts for connection pools, which `poolscope alerts` writes."""
