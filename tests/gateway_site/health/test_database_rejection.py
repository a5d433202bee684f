"""Which responses of PostgreSQL reject this process, and which ones are an outage.

By a server that is a raw socket and answers with one SQLSTATE, in words that nobody can parse; and
by PostgreSQL itself. Adversary: a new process with wrong credentials or a wrong database.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError
from django.db.utils import ConnectionHandler

from gateway_site.environment import postgresql as product
from gateway_site.environment.database import parse_database_url
from gateway_site.health import dependencies
from gateway_site.health.dependencies import query_database
from gateway_site.health.probes import DatabaseRejectedError
from tests.gateway_site.support.postgresql import PostgreSQL

pytestmark = pytest.mark.django_db  # pytest-django lets nothing else use a database
REJECTIONS = ("28000", "28P01", "3D000", "42501")
OUTAGES = ("57P03", "53300", "57P01", "08006", "XX000", "42P01")  # starting, full, stopping, …
ENCRYPTION = {80877103, 80877104}  # the requests for TLS and GSSAPI

Query = Callable[[str], None]


@contextmanager
def server(state: str | None) -> Iterator[str]:
    """Answer each connection with an error; without a state, close it."""

    def respond(client: socket.socket) -> None:
        while (length := client.recv(4)) and (packet := client.recv(_number(length) - 4)):
            if _number(packet[:4]) not in ENCRYPTION:
                fields = f"SFATAL\0VFATAL\0C{state}\0MC'est la vie\0\0".encode()
                if state is not None:
                    client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)
                return
            client.sendall(b"N")

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                respond(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"postgres://user:canary@127.0.0.1:{listener.getsockname()[1]}/name"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _number(data: bytes) -> int:
    (number,) = struct.unpack("!I", data)
    return int(number)


@pytest.fixture
def query(monkeypatch: pytest.MonkeyPatch) -> Query:
    """Return a function that queries the database at a URL, as the probe does."""

    def run(url: str) -> None:
        settings = parse_database_url(url)
        if pool := settings["OPTIONS"].get("pool"):
            pool["timeout"] = 0.3
        handler = ConnectionHandler({"default": settings})
        monkeypatch.setattr(dependencies, "connections", handler)
        connection: Any = handler["default"]
        try:
            query_database()
        finally:
            if pool:
                connection.close_pool()  # Django has one for each alias.

    return run


@pytest.mark.parametrize("pool", ["", "?conn_max_age=0"], ids=["pool", "no pool"])
@pytest.mark.parametrize("state", REJECTIONS)
def test_state_that_rejects_the_process_is_found(query: Query, state: str, pool: str) -> None:
    with server(state) as url, pytest.raises(DatabaseRejectedError) as caught:
        query(url + pool)
    assert str(caught.value).endswith(f"(SQLSTATE {state})")
    assert "canary" not in str(caught.value)


def test_outages_are_no_rejections(query: Query) -> None:
    for state in (*OUTAGES, None):
        with server(state) as url, pytest.raises(DatabaseError):
            query(url + "?conn_max_age=0")
    with pytest.raises(DatabaseError):
        query("postgres://user@127.0.0.1:9/name?conn_max_age=0")


def test_silent_server_is_an_outage_in_the_time_that_a_connection_may_take() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        parameters = {"host": "127.0.0.1", "port": silent.getsockname()[1], "user": "user"}
        assert product.explain_failure(parameters, 0.1) is None


@pytest.mark.slow
def test_postgresql_rejects_wrong_names_and_missing_rights(
    query: Query, postgresql: PostgreSQL
) -> None:
    with psycopg.connect(postgresql.url, autocommit=True) as administrator:
        for statement in (
            "CREATE ROLE bare LOGIN",
            "CREATE ROLE nobody NOLOGIN",
            "CREATE DATABASE closed",
            "REVOKE CONNECT ON DATABASE closed FROM public",
            "CREATE TABLE django_migrations (id int, app text, name text, applied timestamptz)",
        ):
            administrator.execute(statement)
    server = f"127.0.0.1:{postgresql.port}"
    query(postgresql.url)
    for url, state in {
        f"postgres://nobody@{server}/postgres": "28000",
        f"postgres://stranger@{server}/postgres": "28000",
        f"postgres://postgres@{server}/missing": "3D000",
        f"postgres://bare@{server}/closed": "42501",
        f"postgres://bare@{server}/postgres": "42501",
    }.items():
        with pytest.raises(DatabaseRejectedError, match=state):
            query(url)
