"""Other proxies that, like the gateway, keep tokens in a session.

Each signs a person in at the provider in this folder, stores the tokens in its own way, and calls
the upstream with them. A program that is not installed raises `Missing` with its name.
"""


class Missing(Exception):
    """A program is not installed on this machine. The message names it."""
