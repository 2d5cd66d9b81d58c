"""Grafana dashboards of connection pools, which `poolscope dashboards` writes."""
