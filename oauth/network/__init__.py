"""How anything of a provider is asked: vetted addresses, bounded calls, threads, documents kept.

Knows no provider's configuration and no token.
"""
