"""Which line of the application asks for a connection, and which task or thread."""
