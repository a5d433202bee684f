"""Authenticates clients at the token and revocation endpoints."""
