"""Applications whose requests and tasks are operations: what their connections are taken for."""
