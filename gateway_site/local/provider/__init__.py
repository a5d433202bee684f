"""The local stack's OpenID provider: a second, tiny Django site (`python -m` runs it)."""
