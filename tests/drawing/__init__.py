"""Drawing dashboards with the components of Grafana."""
