"""Connections to upstreams: each serves one person, over HTTP/1.1."""
