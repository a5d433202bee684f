"""`/healthz` and `/readyz`: for load balancers and for nobody's curiosity."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import AsyncClient, Client
from pytest_django import Settings

from gateway_site import middleware
from gateway_site.health import Readiness
from sessions_kms.exceptions import KMSUnavailable
from tests.clock import FakeClock
from tests.sessions_kms.stacks import Stack

MakeReadiness = Callable[[Callable[[], None]], Readiness]


@pytest.fixture
def make_readiness(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeReadiness]:
    """Make a readiness that the middleware uses, on the test's clock."""
    made: list[Readiness] = []

    def make(probe: Callable[[], None]) -> Readiness:
        made.append(Readiness(probe, max_age=5, clock=clock))
        monkeypatch.setattr(middleware, "readiness", lambda: made[-1])
        return made[-1]

    yield make
    for readiness in made:
        readiness.close()


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


def test_healthz_asks_nothing(make_readiness: MakeReadiness, probe: Probe) -> None:
    make_readiness(probe)
    response = Client().get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["Cache-Control"] == "no-store"
    assert probe.calls == 0


def test_readyz_uses_the_real_store(store: Stack, make_readiness: MakeReadiness) -> None:
    make_readiness(middleware.probe)
    response = Client().get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_readyz_says_unavailable_without_a_detail(
    store: Stack, make_readiness: MakeReadiness, caplog: pytest.LogCaptureFixture
) -> None:
    store.services.table.unavailable = True  # type: ignore[attr-defined]  # the fake table's
    make_readiness(middleware.probe)
    response = Client().get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
    assert response.headers["Cache-Control"] == "no-store"
    assert "not ready: TableUnavailable." in caplog.text


def test_unexpected_failure_is_unavailable_too_and_its_words_are_kept(
    make_readiness: MakeReadiness, probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    probe.error = RuntimeError("canary")
    make_readiness(probe)
    assert Client().get("/readyz").status_code == 503
    assert "canary" not in caplog.text


def test_answer_is_cached_for_a_few_seconds(
    make_readiness: MakeReadiness, probe: Probe, clock: FakeClock
) -> None:
    make_readiness(probe)
    for _ in range(3):
        assert Client().get("/readyz").status_code == 200
    probe.error = KMSUnavailable()
    clock.advance(4.9)
    assert Client().get("/readyz").status_code == 200
    assert probe.calls == 1

    clock.advance(0.1)
    assert Client().get("/readyz").status_code == 503
    assert Client().get("/readyz").status_code == 503
    assert probe.calls == 2

    probe.error = None
    clock.advance(5)
    assert Client().get("/readyz").status_code == 200


def test_many_who_ask_share_one_probe(make_readiness: MakeReadiness, probe: Probe) -> None:
    readiness = make_readiness(probe)
    probe.go.clear()
    answers = [readiness.answer() for _ in range(50)]
    assert probe.begun.wait(10)
    probe.go.set()
    assert [answer.result(10) for answer in answers] == [True] * 50
    assert probe.calls == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_answered_before_host_and_https(
    make_readiness: MakeReadiness, probe: Probe, settings: Settings, path: str
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    make_readiness(probe)
    response = Client().get(path, headers={"host": "10.0.0.7"})
    assert response.status_code == 200
    assert not response.cookies


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_no_session_is_touched(
    make_readiness: MakeReadiness, probe: Probe, store: Stack, path: str
) -> None:
    make_readiness(probe)
    store.services.table.unavailable = True  # type: ignore[attr-defined]
    client = Client()
    client.cookies["gateway_sessionid"] = "a" * 32
    assert client.get(path).status_code == 200
    assert store.services.table.calls == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_only_get_and_head_are_answered(
    make_readiness: MakeReadiness, probe: Probe, path: str
) -> None:
    make_readiness(probe)
    assert Client().post(path).status_code == 405
    assert Client().head(path).status_code == 200


async def test_waiting_for_the_store_does_not_block_the_loop(
    make_readiness: MakeReadiness, probe: Probe
) -> None:
    make_readiness(probe)
    probe.go.clear()
    client: Any = AsyncClient()
    waiting = [asyncio.ensure_future(client.get("/readyz")) for _ in range(20)]
    health = await asyncio.wait_for(client.get("/healthz"), 5)  # while the others wait
    assert health.status_code == 200
    assert not any(task.done() for task in waiting)

    waiting[0].cancel()  # a client that leaves
    probe.go.set()
    answers = await asyncio.gather(*waiting[1:])

    assert {answer.status_code for answer in answers} == {200}
    assert probe.calls == 1


async def test_store_that_never_answers_is_unavailable(
    make_readiness: MakeReadiness, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "PROBE_TIMEOUT", 0.05)
    make_readiness(probe)
    probe.go.clear()
    client: Any = AsyncClient()
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert (await asyncio.to_thread(Client().get, "/readyz")).status_code == 503
    assert not probe.gave_up
    probe.go.set()
