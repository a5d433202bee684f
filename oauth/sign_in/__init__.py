"""Signing in: allauth's own flow, held to stricter rules, and what it leaves in the session.

Knows nothing of the doors, which put it where allauth and Django look for it.
"""
