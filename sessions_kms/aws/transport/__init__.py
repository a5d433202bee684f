"""Connections: a request's bytes go to one endpoint, its answer comes back. Knows no operation."""
