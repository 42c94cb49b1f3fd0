"""The HTTP API of a service: one file a noun; routes are a table, and who may use each is decided by that table."""
