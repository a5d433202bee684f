"""The end: which grants a request let go, and who ends whose session, here or at the provider.

Of signing in it knows no more than allauth's signal.
"""
