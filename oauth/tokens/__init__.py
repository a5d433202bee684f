"""Token sets in the session: kept, handed out, and refreshed once however many ask.

`fresh_token` is where to begin. Knows nothing of how somebody signed in, or signs out.
"""
