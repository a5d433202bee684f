"""Connections to PostgreSQL with a limit on every wait.

The server ends a statement that takes too long. A frozen server ends nothing, while its machine
still acknowledges what is sent. So the client has a time limit as well.
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
        """Wait for the server: all of psycopg's waits come here."""
        try:
            found: T = super().wait(_limit(self.response_timeout, gen), *args, **kwargs)
        except ServerTimeout:
            self.close()  # its state is unknown, and asking would take as long again
            raise
        return found

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute a query; an empty one is a check with a short time limit.

        The pool sends one before it returns a connection (`ConnectionPool.check_connection`). Its
        own `check` cannot be replaced, because Django 5.2 sets it.
        """
        if query:
            return super().execute(query, *args, **kwargs)
        self.response_timeout = CHECK_TIMEOUT
        try:
            return super().execute(query, *args, **kwargs)
        finally:
            self.response_timeout = RESPONSE_TIMEOUT


class ServerTimeout(psycopg.OperationalError):
    """The server did not answer in time."""


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
