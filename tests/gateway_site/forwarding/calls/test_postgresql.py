"""A gateway with its people in PostgreSQL, by the pool of connections that its settings make."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import pytest
import requests
from psycopg.errors import QueryCanceled

from gateway_site.environment.database import POOL
from gateway_site.environment.postgresql import (
    RESPONSE_TIMEOUT,
    SERVER_OPTIONS,
    STATEMENT_TIMEOUT,
    ServerTimeout,
    TimedConnection,
)
from gateway_site.forwarding.thread_pools import PROVIDER_THREADS
from tests.gateway_site.support.gateways import Gateway, running_gateway
from tests.gateway_site.support.postgresql import PostgreSQL
from tests.gateway_site.support.signing_in import Visitor, sign_in_at_once
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import FakeProvider
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

AT_ONCE = 8
MANY = 60
SLOW = 4.0  # seconds


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with fake_provider.serving(FakeProvider) as running:
        running.client_id = "gateway"
        yield running


@pytest.fixture(scope="module")
def gateway(
    postgresql: PostgreSQL, provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("pg")
    with running_gateway(folder, database=postgresql.url, issuer=provider.issuer) as running:
        yield running


def call(gateway: Gateway, number: int = 0) -> int:
    with gateway.client(number) as client:
        return client.get(f"{gateway.url}/gateway/echo/things", timeout=30).status_code


@pytest.mark.slow
def test_calls_at_once_share_the_pool(gateway: Gateway, postgresql: PostgreSQL) -> None:
    with ThreadPoolExecutor(48) as threads:
        responses = list(threads.map(lambda _: call(gateway), range(200)))
    assert responses == [200] * 200
    assert 1 <= postgresql.connections() <= POOL["max_size"]


def test_open_streams_hold_no_connection(gateway: Gateway) -> None:
    url = f"{gateway.url}/gateway/echo/events"
    with ExitStack() as streams:
        for _ in range(POOL["max_size"] + 8):
            client = streams.enter_context(gateway.client())
            response = streams.enter_context(client.get(url, stream=True, timeout=20))
            assert response.status_code == 200
        assert call(gateway) == 200


def test_first_sign_ins_of_one_person_at_once_all_succeed(
    gateway: Gateway, postgresql: PostgreSQL, provider: FakeProvider
) -> None:
    """All ask for the user at the same time."""
    barrier = Barrier(AT_ONCE)

    def together() -> None:
        barrier.wait(30)

    provider.hooks["/userinfo"] = together
    tables = ("auth_user", "socialaccount_socialaccount")
    before = [postgresql.count(table) for table in tables]
    visitors = [Visitor(gateway) for _ in range(AT_ONCE)]
    known = provider.person
    provider.person = {"sub": "4004", "email": "new@example.com", "name": "New"}
    try:
        assert sign_in_at_once(visitors, provider) == [302] * AT_ONCE
    finally:
        provider.hooks.clear()
        provider.person = known
    assert all(visitor.is_signed_in() for visitor in visitors)
    assert [postgresql.count(table) for table in tables] == [each + 1 for each in before]


@pytest.mark.long
def test_sign_ins_at_a_slow_provider_all_succeed_and_hold_up_no_page(
    gateway: Gateway, provider: FakeProvider
) -> None:
    assert MANY > PROVIDER_THREADS
    provider.hooks["/token"] = lambda: time.sleep(SLOW)
    visitors = [Visitor(gateway) for _ in range(MANY)]
    try:
        with ThreadPoolExecutor(1) as threads:
            statuses = threads.submit(sign_in_at_once, visitors, provider)
            while not statuses.done():
                page = requests.get(f"{gateway.url}/accounts/login/", timeout=2)
                assert (page.status_code, call(gateway)) == (200, 200)
                time.sleep(0.2)
    finally:
        provider.hooks.clear()
    assert Counter(statuses.result()) == {302: MANY}
    assert all(visitor.is_signed_in() for visitor in visitors)


@pytest.mark.slow
def test_statement_is_ended_by_the_server_and_silence_by_the_client(
    postgresql: PostgreSQL,
) -> None:
    options = SERVER_OPTIONS.replace(f"{STATEMENT_TIMEOUT}s", "200ms")
    with TimedConnection.connect(postgresql.url, options=options, autocommit=True) as connection:
        with pytest.raises(QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        assert not connection.closed
    with TimedConnection.connect(postgresql.url, options=SERVER_OPTIONS) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == (f"{STATEMENT_TIMEOUT}s",)
        assert STATEMENT_TIMEOUT < connection.response_timeout < 2 * STATEMENT_TIMEOUT
        connection.response_timeout = 0.2
        with pytest.raises(ServerTimeout):
            connection.execute("SELECT pg_sleep(60)")
        assert connection.closed


def assert_unavailable(gateway: Gateway, path: str) -> None:
    with gateway.client() as client:
        response = client.get(f"{gateway.url}{path}", timeout=30)
        assert response.status_code == 503, response.text
        assert int(response.headers["Retry-After"]) > 0
        assert "Set-Cookie" not in response.headers
        is_problem = response.headers["Content-Type"] == "application/problem+json"
        assert is_problem == path.startswith("/gateway/")


@pytest.mark.long
def test_outage_of_postgresql_is_a_503_and_passes_without_a_restart(
    gateway: Gateway, postgresql: PostgreSQL
) -> None:
    assert call(gateway) == 200  # from now on this person is known, for 2 seconds
    postgresql.kill()
    tracebacks = gateway.log.read_text().count("Traceback")
    try:
        known = call(gateway)
        for path in ("/", "/sessions/", "/admin/"):
            assert_unavailable(gateway, path)
        assert_unavailable(gateway, "/gateway/echo/things")
    finally:
        postgresql.start()
    assert known == 200
    assert gateway.log.read_text().count("Traceback") <= tracebacks + 1  # where it began
    wait_until(lambda: call(gateway) == 200, "calls are answered again")
    wait_until(lambda: requests.get(gateway.url, timeout=9).status_code == 200, "pages are, too")


@pytest.mark.long
def test_hanging_postgresql_is_a_503_in_bounded_time_until_it_continues(
    gateway: Gateway, postgresql: PostgreSQL
) -> None:
    with ThreadPoolExecutor(24) as threads:
        list(threads.map(lambda _: call(gateway), range(48)))  # several connections are there
    with postgresql.frozen(), ThreadPoolExecutor(24) as threads:
        known = call(gateway)
        began = time.monotonic()
        pages = list(threads.map(lambda _: assert_unavailable(gateway, "/"), range(24)))
        assert time.monotonic() - began < RESPONSE_TIMEOUT
        time.sleep(2)
        assert_unavailable(gateway, "/gateway/echo/things")
    assert len(pages) == 24
    assert known == 200
    wait_until(lambda: call(gateway) == 200, "calls are answered again")
