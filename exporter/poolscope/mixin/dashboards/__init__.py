"""Grafana dashboards of pools: what `poolscope dashboards` writes."""
