"""Signing in, around allauth: its adapters and signals, the pages of a sign-in, rights by groups.

Knows nothing of this package's doors, which put it where allauth and Django look for it.
"""
