"""The end: which grants a request let go, and who ends whose session, here or at the provider.

Knows nothing of how somebody signs in.
"""
