"""What a Grafana dashboard, as plain JSON, must be: its shape, its rules, its queries, its data."""
