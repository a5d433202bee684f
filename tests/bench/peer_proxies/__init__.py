"""Proxies that others wrote, which carry a session with tokens as the gateway does.

Each signs somebody in at the provider of this folder, keeps the tokens where it does, and calls
the upstream with them. What is not installed here is told by its name (`Missing`).
"""


class Missing(Exception):
    """A program is not installed on this machine. The message names it."""
