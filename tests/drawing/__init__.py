"""Draws dashboards with Grafana's own components."""
