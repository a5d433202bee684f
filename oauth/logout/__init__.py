"""What ends with a session: back-channel logout, sign-out at the provider, what was let go.

Of signing in it knows no more than allauth's signal.
"""
