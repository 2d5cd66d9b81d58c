"""Checks of a Grafana dashboard as plain JSON: its schema, rules, queries and data."""
