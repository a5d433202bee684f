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


class Health:
    """What the middleware asks, on the test's clock; the shared services answer well."""

    def __init__(self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        self.probe = Probe()
        self.patch = monkeypatch
        self.made: dict[str, SharedProbe] = {}
        for name in SHARED_CHECKS:
            self.make(Probe(), name)

    def make(
        self, probe: Callable[[], None] | None = None, name: str = "migrations"
    ) -> SharedProbe:
        """Check with the test's own probe, or with another."""
        self.made[name] = SharedProbe(name, probe or self.probe, max_age=5, clock=self.clock)
        return self.made[name]

    def shared(self) -> dict[str, SharedProbe]:
        return {name: self.made[name] for name in SHARED_CHECKS}


@pytest.fixture
def health(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Health]:
    found = Health(clock, monkeypatch)
    make_readiness = cache(lambda: Readiness(found.shared()))
    monkeypatch.setattr(middleware, "migrations_probe", lambda: found.made["migrations"])
    monkeypatch.setattr(middleware, "shared_probes", found.shared)
    monkeypatch.setattr(middleware, "readiness", make_readiness)
    yield found
    for each in found.made.values():
        each.close()


def status_after(probe: SharedProbe) -> int:
    """Return the status of `/readyz` once an attempt that is due has ended."""
    probe.outcome().result(10)
    status: int = Client().get("/readyz").status_code
    return status


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
def test_liveness_uses_no_service(health: Health, path: str) -> None:
    health.make()
    response = Client().get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["Cache-Control"] == "no-store"
    assert health.probe.calls == 0


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
    health: Health,
) -> None:
    migrations = health.make(MigrationsProbe())
    health.patch.setattr(dependencies, "_missing_migrations", lambda: True)
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "migrations"}
    assert response.headers["Cache-Control"] == "no-store"

    health.patch.setattr(dependencies, "_missing_migrations", lambda: False)
    health.clock.advance(5)
    assert status_after(migrations) == 200
    assert Client().get("/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_unavailable_database_leaves_a_process_ready_and_is_queried_again(
    health: Health, error: type[Exception]
) -> None:
    def down() -> bool:
        raise error

    migrations = health.make(MigrationsProbe())
    health.patch.setattr(dependencies, "_missing_migrations", down)
    assert Client().get("/readyz").status_code == 200
    health.patch.setattr(dependencies, "_missing_migrations", lambda: True)
    health.clock.advance(5)
    assert status_after(migrations) == 503


def test_draining_process_is_not_ready_and_lives(health: Health) -> None:
    health.make()
    draining = threading.Event()
    health.patch.setattr(middleware, "draining", draining)
    draining.set()
    response = Client().get("/readyz")
    assert (response.status_code, response.json()["reason"]) == (503, "draining")
    assert Client().get("/livez").status_code == 200


def test_shared_services_are_reported_but_do_not_affect_readiness(
    health: Health, store: Stack
) -> None:
    health.make(Probe())
    health.make(name="sql")
    for name in ("table", "kms"):
        health.make(SHARED_CHECKS[name], name)
    assert set(Client().get("/readyz?verbose").json()["shared"].values()) == {"ok", "closed"}

    store.dynamodb.unavailable = True
    health.probe.error = OperationalError("canary")
    health.clock.advance(5)
    health.patch.setattr("gateway_site.health.middleware.open_circuits", lambda: ["dynamodb"])

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
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    health.probe.error = RuntimeError("canary")
    health.make()
    assert Client().get("/readyz").status_code == 503
    assert "canary" not in caplog.text


def test_response_is_cached_for_a_few_seconds(health: Health) -> None:
    probe = health.make()
    for _ in range(3):
        assert Client().get("/readyz").status_code == 200
    health.probe.error = KMSUnavailable()
    health.clock.advance(4.9)
    assert Client().get("/readyz").status_code == 200
    assert health.probe.calls == 1

    health.clock.advance(0.1)
    assert status_after(probe) == 503
    assert Client().get("/readyz").status_code == 503
    assert health.probe.calls == 2

    health.probe.error = None
    health.clock.advance(5)
    assert status_after(probe) == 200


async def test_no_request_waits_for_an_attempt_once_an_outcome_is_known(health: Health) -> None:
    """In an outage an attempt takes seconds; load balancers wait for one, or two."""
    health.patch.setattr(middleware, "PROBE_TIMEOUT", 60)
    sql, table = Probe(), Probe()
    sql.error, table.error = OperationalError(), TableUnavailable(is_rejection=True)
    for name, each in {"migrations": health.probe, "sql": sql, "table": table}.items():
        health.make(each, name)
    client: Any = AsyncClient()
    assert (await client.get("/readyz")).json()["reason"] == "table"
    health.clock.advance(5)
    for each in (health.probe, sql, table):
        each.go.clear()
    try:
        for _ in range(2):
            response = await asyncio.wait_for(client.get("/readyz"), 10)
            assert response.json()["reason"] == "table"
    finally:
        for each in (health.probe, sql, table):
            each.go.set()


def test_concurrent_requests_share_one_probe(health: Health) -> None:
    probe = health.make()
    health.probe.go.clear()
    responses = [probe.outcome() for _ in range(50)]
    assert health.probe.begun.wait(10)
    health.probe.go.set()
    assert {response.result(10) for response in responses} == {Outcome.OK}
    assert health.probe.calls == 1


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_answered_before_host_and_https(health: Health, settings: Settings, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    health.make()
    response = Client().get(path, headers={"host": "10.0.0.7"})
    assert response.status_code == 200
    assert not response.cookies


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_no_session_is_touched(health: Health, store: Stack, path: str) -> None:
    health.make()
    store.dynamodb.unavailable = True
    client = Client()
    client.cookies["gateway_sessionid"] = "a" * 32
    assert client.get(path).status_code == 200
    assert store.dynamodb.calls == []


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_only_get_and_head_are_answered(health: Health, path: str) -> None:
    health.make()
    assert Client().post(path).status_code == 405
    assert Client().head(path).status_code == 200


async def test_waiting_for_the_store_does_not_block_the_loop(health: Health) -> None:
    health.make()
    health.probe.go.clear()
    client: Any = AsyncClient()
    waiting = [asyncio.ensure_future(client.get("/readyz")) for _ in range(20)]
    livez = await asyncio.wait_for(client.get("/healthz"), 5)  # while the others wait
    assert livez.status_code == 200
    assert not any(task.done() for task in waiting)

    waiting[0].cancel()  # a client that leaves
    health.probe.go.set()
    responses = await asyncio.gather(*waiting[1:])

    assert {response.status_code for response in responses} == {200}
    assert health.probe.calls == 1


async def test_hanging_services_delay_readiness_by_seconds_only(health: Health) -> None:
    health.patch.setattr(middleware, "PROBE_TIMEOUT", 0.05)
    for name in ("migrations", *SHARED_CHECKS):
        health.make(name=name)
    health.probe.go.clear()
    client: Any = AsyncClient()
    assert (await client.get("/readyz")).json() == {"status": "unavailable", "reason": "sql"}
    health.clock.advance(OUTCOME_WITHIN)
    response = await client.get("/readyz?verbose")
    assert response.status_code == 200
    assert set(response.json()["shared"].values()) == {"unavailable", "closed"}
    assert (await asyncio.to_thread(Client().get, "/readyz")).status_code == 200
    assert not health.probe.gave_up
    health.probe.go.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_uses_its_own_probe_threads() -> None:
    assert migrations_probe() is migrations_probe()
    assert readiness() is readiness()
    cached = (migrations_probe, shared_probes, readiness)
    assert in_child(lambda: sum(each.cache_info().currsize for each in cached)) == 0
