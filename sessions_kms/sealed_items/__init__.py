"""Sealed items: sessions, their metadata, leases and tokens."""
