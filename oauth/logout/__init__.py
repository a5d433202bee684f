"""Signing out: back-channel logout, sign-out at the provider, and revoking grants.

Its only link to signing in is allauth's signal.
"""
