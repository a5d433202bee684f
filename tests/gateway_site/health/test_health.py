"""`/livez`, `/healthz` and `/readyz`, for load balancers."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import AsyncClient, Client
from pytest_django import Settings

from gateway_site.health import dependencies, middleware
from gateway_site.health.dependencies import (
    SHARED_CHECKS,
    MigrationsProbe,
    migrations_probe,
    shared_probes,
)
from gateway_site.health.probes import Outcome, SharedProbe
from gateway_site.health.readiness import OUTCOME_WITHIN, Readiness, readiness
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from tests.sessions_kms.support.stacks import Stack
from tests.support.clock import FakeClock
from tests.support.forking import in_child

MakeHealth = Callable[..., SharedProbe]


@pytest.fixture
def make_health(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeHealth]:
    """Make what the middleware asks, on the test's clock; the shared services answer well."""
    made: dict[str, SharedProbe] = {}

    def make(probe: Callable[[], None], name: str = "migrations") -> SharedProbe:
        made[name] = SharedProbe(name, probe, max_age=5, clock=clock)
        return made[name]

    @cache
    def make_readiness() -> Readiness:
        return Readiness({name: made[name] for name in SHARED_CHECKS})

    for name in SHARED_CHECKS:
        make(Probe(), name)
    monkeypatch.setattr(middleware, "migrations_probe", lambda: made["migrations"])
    monkeypatch.setattr(
        middleware, "shared_probes", lambda: {each: made[each] for each in SHARED_CHECKS}
    )
    monkeypatch.setattr(middleware, "readiness", make_readiness)
    yield make
    for health in made.values():
        health.close()


class Probe:
    """A probe that counts, fails on demand, and waits while it is held."""

    def __init__(self) -> None:
        self.calls = 0
        self.gave_up = False
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()

    def __call__(self) -> None:
        self.calls += 1
        self.begun.set()
        self.gave_up = not self.go.wait(60)
        if self.error:
            raise self.error


@pytest.fixture
def probe() -> Probe:
    return Probe()


def status_after(probe: SharedProbe) -> int:
    """Return the status of `/readyz` once an attempt that is due has ended."""
    probe.outcome().result(10)
    status: int = Client().get("/readyz").status_code
    return status


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
def test_liveness_uses_no_service(make_health: MakeHealth, probe: Probe, path: str) -> None:
    make_health(probe)
    response = Client().get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["Cache-Control"] == "no-store"
    assert probe.calls == 0


@pytest.mark.django_db(transaction=True)
def test_migrated_process_is_ready_and_stops_querying_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrations = MigrationsProbe()
    migrations()
    monkeypatch.setattr(dependencies, "_missing_migrations", lambda: True)
    migrations()
    SHARED_CHECKS["sql"]()


def test_process_with_migrations_missing_is_not_ready_until_they_are_applied(
    make_health: MakeHealth, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations = make_health(MigrationsProbe())
    monkeypatch.setattr(dependencies, "_missing_migrations", lambda: True)
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "migrations"}
    assert response.headers["Cache-Control"] == "no-store"

    monkeypatch.setattr(dependencies, "_missing_migrations", lambda: False)
    clock.advance(5)
    assert status_after(migrations) == 200
    assert Client().get("/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_unavailable_database_leaves_a_process_ready_and_is_queried_again(
    make_health: MakeHealth,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    def down() -> bool:
        raise error

    migrations = make_health(MigrationsProbe())
    monkeypatch.setattr(dependencies, "_missing_migrations", down)
    assert Client().get("/readyz").status_code == 200
    monkeypatch.setattr(dependencies, "_missing_migrations", lambda: True)
    clock.advance(5)
    assert status_after(migrations) == 503


def test_draining_process_is_not_ready_and_lives(
    make_health: MakeHealth, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_health(probe)
    draining = threading.Event()
    monkeypatch.setattr(middleware, "draining", draining)
    draining.set()
    response = Client().get("/readyz")
    assert (response.status_code, response.json()["reason"]) == (503, "draining")
    assert Client().get("/livez").status_code == 200


def test_shared_services_are_reported_but_do_not_affect_readiness(
    store: Stack,
    make_health: MakeHealth,
    probe: Probe,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_health(Probe())
    make_health(probe, "sql")
    for name in ("table", "kms"):
        make_health(SHARED_CHECKS[name], name)
    assert set(Client().get("/readyz?verbose").json()["shared"].values()) == {"ok", "closed"}

    store.dynamodb.unavailable = True
    probe.error = OperationalError("canary")
    clock.advance(5)
    monkeypatch.setattr("gateway_site.health.middleware.open_circuits", lambda: ["dynamodb"])

    for query in ("verbose", "verbose=1", "a=1&verbose", "verbose&a"):
        assert "shared" in Client().get(f"/readyz?{query}").json(), query
    for query in ("", "verbosely", "a=verbose", "averbose", "a&averbose=1"):
        assert "shared" not in Client().get(f"/readyz?{query}").json(), query
    response = Client().get("/readyz?verbose")

    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "shared": {
            "sql": "unavailable",
            "table": "unavailable",
            "kms": "ok",
            "circuit": "open: dynamodb",
        },
    }


def test_unexpected_failure_is_unavailable_too_and_its_words_are_kept(
    make_health: MakeHealth, probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    probe.error = RuntimeError("canary")
    make_health(probe)
    assert Client().get("/readyz").status_code == 503
    assert "canary" not in caplog.text


def test_response_is_cached_for_a_few_seconds(
    make_health: MakeHealth, probe: Probe, clock: FakeClock
) -> None:
    health = make_health(probe)
    for _ in range(3):
        assert Client().get("/readyz").status_code == 200
    probe.error = KMSUnavailable()
    clock.advance(4.9)
    assert Client().get("/readyz").status_code == 200
    assert probe.calls == 1

    clock.advance(0.1)
    assert status_after(health) == 503
    assert Client().get("/readyz").status_code == 503
    assert probe.calls == 2

    probe.error = None
    clock.advance(5)
    assert status_after(health) == 200


async def test_no_request_waits_for_an_attempt_once_an_outcome_is_known(
    make_health: MakeHealth, probe: Probe, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an outage an attempt takes seconds; load balancers wait for one, or two."""
    monkeypatch.setattr(middleware, "PROBE_TIMEOUT", 60)
    sql, table = Probe(), Probe()
    sql.error, table.error = OperationalError(), TableUnavailable(is_rejection=True)
    for name, each in {"migrations": probe, "sql": sql, "table": table}.items():
        make_health(each, name)
    client: Any = AsyncClient()
    assert (await client.get("/readyz")).json()["reason"] == "table"
    clock.advance(5)
    for each in (probe, sql, table):
        each.go.clear()
    try:
        for _ in range(2):
            response = await asyncio.wait_for(client.get("/readyz"), 10)
            assert response.json()["reason"] == "table"
    finally:
        for each in (probe, sql, table):
            each.go.set()


def test_concurrent_requests_share_one_probe(make_health: MakeHealth, probe: Probe) -> None:
    health = make_health(probe)
    probe.go.clear()
    responses = [health.outcome() for _ in range(50)]
    assert probe.begun.wait(10)
    probe.go.set()
    assert {response.result(10) for response in responses} == {Outcome.OK}
    assert probe.calls == 1


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_answered_before_host_and_https(
    make_health: MakeHealth, probe: Probe, settings: Settings, path: str
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    make_health(probe)
    response = Client().get(path, headers={"host": "10.0.0.7"})
    assert response.status_code == 200
    assert not response.cookies


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_no_session_is_touched(
    make_health: MakeHealth, probe: Probe, store: Stack, path: str
) -> None:
    make_health(probe)
    store.dynamodb.unavailable = True
    client = Client()
    client.cookies["gateway_sessionid"] = "a" * 32
    assert client.get(path).status_code == 200
    assert store.dynamodb.calls == []


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_only_get_and_head_are_answered(make_health: MakeHealth, probe: Probe, path: str) -> None:
    make_health(probe)
    assert Client().post(path).status_code == 405
    assert Client().head(path).status_code == 200


async def test_waiting_for_the_store_does_not_block_the_loop(
    make_health: MakeHealth, probe: Probe
) -> None:
    make_health(probe)
    probe.go.clear()
    client: Any = AsyncClient()
    waiting = [asyncio.ensure_future(client.get("/readyz")) for _ in range(20)]
    health = await asyncio.wait_for(client.get("/healthz"), 5)  # while the others wait
    assert health.status_code == 200
    assert not any(task.done() for task in waiting)

    waiting[0].cancel()  # a client that leaves
    probe.go.set()
    responses = await asyncio.gather(*waiting[1:])

    assert {response.status_code for response in responses} == {200}
    assert probe.calls == 1


async def test_hanging_services_delay_readiness_by_seconds_only(
    make_health: MakeHealth, probe: Probe, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "PROBE_TIMEOUT", 0.05)
    for name in ("migrations", *SHARED_CHECKS):
        make_health(probe, name)
    probe.go.clear()
    client: Any = AsyncClient()
    assert (await client.get("/readyz")).json() == {"status": "unavailable", "reason": "sql"}
    clock.advance(OUTCOME_WITHIN)
    response = await client.get("/readyz?verbose")
    assert response.status_code == 200
    assert set(response.json()["shared"].values()) == {"unavailable", "closed"}
    assert (await asyncio.to_thread(Client().get, "/readyz")).status_code == 200
    assert not probe.gave_up
    probe.go.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_uses_its_own_probe_threads() -> None:
    assert migrations_probe() is migrations_probe()
    assert readiness() is readiness()
    cached = (migrations_probe, shared_probes, readiness)
    assert in_child(lambda: sum(each.cache_info().currsize for each in cached)) == 0
