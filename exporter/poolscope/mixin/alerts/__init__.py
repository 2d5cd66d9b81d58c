"""Alerts of pools, and the thresholds that dashboards share with them."""
