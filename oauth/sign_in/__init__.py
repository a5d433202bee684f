"""Signing in: allauth's own flow, held to stricter rules, and what it leaves in the session."""
