"""Tokens that the gateway signs itself, which tell an upstream who is calling."""
