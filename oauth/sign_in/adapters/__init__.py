"""allauth's adapters, held to stricter rules: how a provider is asked, and what it may answer.

`choice` says which of them signs in with a provider; a provider's quirk begins there.
"""
