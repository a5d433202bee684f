"""OAuth clients that sign in here: what a person allowed each, and the tokens that it holds.

Knows nothing of HTTP; the endpoints and pages stand to its right.
"""
