"""Connections to PostgreSQL with a time limit on every wait.

The server cancels a statement that takes too long. A frozen server cancels nothing, while its
machine still acknowledges packets. So the client has a time limit as well.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any, TypeVar

import psycopg

STATEMENT_TIMEOUT = 10  # seconds, at the server
RESPONSE_TIMEOUT = STATEMENT_TIMEOUT + 2.0  # seconds without a response, at the client
CHECK_TIMEOUT = 2.0  # seconds, for the check of an idle connection
# https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-STATEMENT-TIMEOUT
SERVER_OPTIONS = f"-c statement_timeout={STATEMENT_TIMEOUT}s"

T = TypeVar("T")
Waits = Generator[Any, Any, T]


class TimedConnection(psycopg.Connection[Any]):
    """A connection that closes, with OperationalError, if the server does not respond in time."""

    response_timeout = RESPONSE_TIMEOUT

    def wait(self, gen: Waits[T], *args: Any, **kwargs: Any) -> T:
        """Wait for the server; psycopg calls this for every wait."""
        try:
            found: T = super().wait(_limit(self.response_timeout, gen), *args, **kwargs)
        except ServerTimeout:
            self.close()  # Its state is unknown, and a query would take as long again.
            raise
        return found

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute a query. An empty query is a check, with a short time limit.

        The pool sends an empty query before it returns a connection
        (`ConnectionPool.check_connection`). The pool's `check` cannot be replaced, because Django
        5.2 sets it.
        """
        if query:
            return super().execute(query, *args, **kwargs)
        self.response_timeout = CHECK_TIMEOUT
        try:
            return super().execute(query, *args, **kwargs)
        finally:
            self.response_timeout = RESPONSE_TIMEOUT


class ServerTimeout(psycopg.OperationalError):
    """The server did not respond in time."""


POOL_OPTIONS = {"connection_class": TimedConnection}


def _limit(seconds: float, waits: Waits[T]) -> Waits[T]:
    """Pass on psycopg's waits, which resume ten times a second while nothing arrives."""
    end = monotonic() + seconds
    try:
        wanted = next(waits)
        while True:
            ready = yield wanted
            if not ready and monotonic() >= end:
                raise ServerTimeout("The database server did not respond in time.")
            wanted = waits.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result
