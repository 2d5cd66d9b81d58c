"""What is generated for Prometheus and Grafana: dashboards, alerts, and what both share."""
