"""Dashboards for Grafana, alerts for Prometheus, and what both share."""
