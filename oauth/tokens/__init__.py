"""Stores token sets in the session and refreshes each of them once, however many requests need it.

Start reading at `fresh_token`. This package does not depend on sign-in or sign-out.
"""
