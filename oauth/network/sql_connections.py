"""SQL connections are not held while somebody else is waited for: there are few of them."""

from __future__ import annotations

from django.db import connections


def give_back() -> None:
    """Give this thread's connections back, to the pool where there is one.

    Django takes one anew at the next query. What runs in a transaction keeps its own.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
