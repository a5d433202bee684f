"""Connections to PostgreSQL that a server cannot hold up without end.

The server ends a statement that takes too long; but a server that is frozen ends nothing, and
its machine goes on acknowledging what it is sent. So the client ends the wait as well.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any, TypeVar

import psycopg

STATEMENT_TIMEOUT = 10  # seconds, at the server
PATIENCE = STATEMENT_TIMEOUT + 2.0  # seconds until a server that is silent is given up
CHECK_PATIENCE = 2.0  # seconds, likewise, for a sign of life from one that was idle
# https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-STATEMENT-TIMEOUT
SERVER_OPTIONS = f"-c statement_timeout={STATEMENT_TIMEOUT}s"

T = TypeVar("T")
Steps = Generator[Any, Any, T]


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that closes, with OperationalError, when its server is silent for too long."""

    patience = PATIENCE

    def wait(self, gen: Steps[T], *args: Any, **kwargs: Any) -> T:
        """Wait for the server, as psycopg does wherever it does."""
        try:
            found: T = super().wait(_within(self.patience, gen), *args, **kwargs)
        except Silence:
            self.close()  # nothing else is known of it, and asking would take as long again
            raise
        return found

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute a query; an empty one asks for a sign of life, which must come soon.

        So does the pool before it hands out a connection (`ConnectionPool.check_connection`).
        Its own `check` is not to be had: Django 5.2 sets it.
        """
        if query:
            return super().execute(query, *args, **kwargs)
        self.patience = CHECK_PATIENCE
        try:
            return super().execute(query, *args, **kwargs)
        finally:
            self.patience = PATIENCE


class Silence(psycopg.OperationalError):
    """The server did not answer in time."""


POOL_BOUNDS = {"connection_class": BoundedConnection}


def _within(seconds: float, steps: Steps[T]) -> Steps[T]:
    """Pass on what psycopg waits for: it looks around ten times a second while nothing comes."""
    end = monotonic() + seconds
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and monotonic() >= end:
                raise Silence("The database server did not answer in time.")
            wanted = steps.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result
