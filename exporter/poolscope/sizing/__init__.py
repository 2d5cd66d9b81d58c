"""How large a pool should be: a model of callers that wait in a queue for connections."""
