"""OAuth clients that sign in here: the grants that people give them, and their tokens.

This package does not depend on HTTP, except for `endpoints`.
"""
