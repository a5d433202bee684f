"""A gateway with its people in PostgreSQL, by the pool of connections that its settings make."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from gateway_site.environment import POOL
from tests.gateway_site.gateway.gateways import Gateway, running_gateway
from tests.gateway_site.gateway.postgresql import PostgreSQL, binaries, running_postgresql
from tests.local.running import wait_until


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    found = binaries()
    if found is None:
        pytest.skip("NO POSTGRESQL: install it")
    with running_postgresql(found) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def gateway(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("pg"), database=postgresql.url) as running:
        yield running


def call(gateway: Gateway) -> int:
    return gateway.get("echo/things").status_code


def test_calls_at_once_share_the_pool(gateway: Gateway, postgresql: PostgreSQL) -> None:
    with ThreadPoolExecutor(48) as threads:
        answers = list(threads.map(lambda _: call(gateway), range(200)))
    assert answers == [200] * 200
    assert 1 <= postgresql.connections() <= POOL["max_size"]


def test_open_streams_hold_no_connection(gateway: Gateway) -> None:
    url = f"{gateway.url}/gateway/echo/events"
    with ExitStack() as streams:
        for _ in range(POOL["max_size"] + 8):
            client = streams.enter_context(gateway.client())
            answer = streams.enter_context(client.get(url, stream=True, timeout=20))
            assert answer.status_code == 200
        assert call(gateway) == 200


@pytest.mark.long
def test_nobody_is_signed_out_by_an_outage_of_postgresql(
    gateway: Gateway, postgresql: PostgreSQL
) -> None:
    assert call(gateway) == 200
    postgresql.kill()
    try:
        answer = gateway.get("echo/things")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_server_error")
        assert "Set-Cookie" not in answer.headers
    finally:
        postgresql.start()
    wait_until(lambda: call(gateway) == 200, "calls are answered again")
