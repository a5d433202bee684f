"""Connections to PostgreSQL with a time limit on every wait.

The server cancels a statement that takes too long. A frozen server cancels nothing, while its
machine still acknowledges packets. So the client has a time limit as well.
"""

import os
import re
from collections.abc import Generator, Mapping
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg import conninfo, pq

STATEMENT_TIMEOUT = 10  # seconds, at the server
RESPONSE_TIMEOUT = STATEMENT_TIMEOUT + 2.0  # seconds without a response, at the client
CHECK_TIMEOUT = 2.0  # seconds, for the check of an idle connection
# https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-STATEMENT-TIMEOUT
SERVER_OPTIONS = f"-c statement_timeout={STATEMENT_TIMEOUT}s"

# Members of Django's connection parameters that are psycopg's, and not the server's.
CLIENT_PARAMETERS: Final = frozenset({"context", "cursor_factory", "prepare_threshold"})
# https://www.postgresql.org/docs/current/protocol-error-fields.html, as libpq traces a message.
SQLSTATE: Final = re.compile(rb'^B\t\d+\tErrorResponse\t.*? C "([0-9A-Z]{5})" ', re.MULTILINE)

UNAUTHENTICATED: Final = "28P01"

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


def explain_failure(parameters: Mapping[str, Any], seconds: float) -> tuple[str, str] | None:
    """Connect once more; return the SQLSTATE with which the server rejects it, and libpq's message.

    Return None if the server sends none, within ``seconds``. A failed connection has no SQLSTATE in
    psycopg, because libpq returns only a message, in the server's language. The trace of the
    messages has it. That also contains the password where the server asks for it in plain text, so
    it stays in memory. Linux only; elsewhere the response is None.
    """
    known = {name: each for name, each in parameters.items() if name not in CLIENT_PARAMETERS}
    connection = pq.PGconn.connect_start(conninfo.make_conninfo(**known).encode())
    try:
        with os.fdopen(os.memfd_create("trace"), "rb") as trace:
            connection.trace(trace.fileno())
            connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
            try:
                _connect(connection, monotonic() + seconds)
            finally:
                connection.untrace()
            trace.seek(0)
            states = SQLSTATE.findall(trace.read())
        message = connection.get_error_message().strip()
        if connection.needs_password:  # the server asks for one, and the URL has none
            return UNAUTHENTICATED, message
        # The last one ended the attempt: libpq may have tried several addresses.
        return (states[-1].decode("ascii"), message) if states else None
    except (AttributeError, psycopg.NotSupportedError):
        return None
    finally:
        connection.finish()


def _connect(connection: pq.abc.PGconn, end: float) -> None:
    """Connect until the outcome is known, or until a time."""
    status = pq.PollingStatus.WRITING
    while status in {pq.PollingStatus.READING, pq.PollingStatus.WRITING}:
        is_reading = status is pq.PollingStatus.READING
        with DefaultSelector() as selector:  # Each address that libpq tries has its own socket.
            selector.register(connection.socket, EVENT_READ if is_reading else EVENT_WRITE)
            if not selector.select(max(0.0, end - monotonic())):
                return
        status = pq.PollingStatus(connection.connect_poll())


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
