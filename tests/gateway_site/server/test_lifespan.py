"""Work that a server does once, at its start."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import signal
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from gateway_site.audit import trail
from gateway_site.edge.http_metrics import gateway
from gateway_site.policy.in_force import RulesInForce
from gateway_site.server import lifespan, log_queue
from tests.gateway_site.support.declared_upstreams import read_api


class Referring:
    """Refers to itself."""

    itself: Referring


@pytest.fixture
def usual() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The probes that a start has begun."""
    begun: list[str] = []

    class Probe:
        def latest(self) -> None:
            begun.append("migrations")

    monkeypatch.setattr(lifespan, "migrations_probe", Probe)
    return begun


async def live() -> list[str]:
    """Start and stop as a server does; return what the application said."""
    told: list[str] = []
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for kind in ("startup", "shutdown"):
        messages.put_nowait({"type": f"lifespan.{kind}"})

    async def send(message: Any) -> None:
        told.append(message["type"])

    async def nothing(*_: Any) -> None:
        raise AssertionError

    await lifespan.asgi(nothing)({"type": "lifespan"}, messages.get, send)
    return told


@pytest.mark.usefixtures("usual")
async def test_collector_skips_objects_from_the_start(settings: Settings) -> None:
    settings.DRAIN_SECONDS = 0
    frozen = gc.get_freeze_count()  # by the run of the tests: see conftest
    there: list[object] = [[]]
    assert any(each is there for each in gc.get_objects())
    assert await live() == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not any(each is there for each in gc.get_objects())
    assert gc.get_freeze_count() > frozen
    assert gc.get_threshold()[0] == lifespan.YOUNG


@pytest.mark.usefixtures("usual")
async def test_rule_that_allows_everybody_everything_is_logged_at_the_start(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as half of a file that somebody is writing."""
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\naction = "allow"\ngroups = ["a"]\n\n[[rule]]\naction = "allow"\n')
    settings.DRAIN_SECONDS = 0
    settings.UPSTREAM_RULES = RulesInForce([read_api(POLICY_FILE=str(path))], ())
    await live()
    [record] = caplog.records
    assert record.levelname == "WARNING"
    sentence = f"UPSTREAM_API_POLICY_FILE: {path}: Line 5 allows every caller everything."
    assert record.getMessage().startswith(sentence)


@pytest.mark.usefixtures("usual")
async def test_old_garbage_is_collected_regardless_of_the_objects_from_the_start(
    settings: Settings,
) -> None:
    """The collector looks at what is old when there is a quarter more than after its last look."""
    settings.DRAIN_SECONDS = 0
    there = [[each] for each in range(200_000)]
    await live()
    gc.set_threshold(100, 1, 1)
    garbage = Referring()
    garbage.itself = garbage
    collected = weakref.ref(garbage)
    younger = [[each] for each in range(1000)]  # by now it is old
    del garbage
    younger += [[each] for each in range(len(there) // 20)]
    assert collected() is None


async def test_many_signals_wait_for_one_reading_of_the_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each would occupy a thread of those that also look up the names of upstreams."""
    handlers, readings, waiting = dict[int, Any](), list[int](), list[Callable[[], None]]()

    async def hang_up() -> None:
        for _ in range(50):
            handlers[signal.SIGHUP](signal.SIGHUP, None)
        await asyncio.sleep(0)

    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(lifespan, "reload_rules", lambda: readings.append(len(waiting)))
    monkeypatch.setattr(lifespan, "has_rules", lambda: True)
    monkeypatch.setattr(
        asyncio.get_running_loop(), "run_in_executor", lambda _, work: waiting.append(work)
    )
    lifespan._reload_at_hangup()
    await hang_up()
    await hang_up()
    assert len(waiting) == 1
    waiting[0]()
    await hang_up()
    assert len(waiting) == 2
    assert readings == [1]


async def test_hangup_of_a_single_process_tells_that_its_configuration_file_has_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, handlers = tmp_path / "gateway.toml", dict[int, Any]()
    file.write_text("HSTS_SECONDS = 1")
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "run_in_executor", lambda _, work: work())
    lifespan._reload_at_hangup()  # without rules, too

    async def hang_up() -> list[str]:
        caplog.clear()
        handlers[signal.SIGHUP](signal.SIGHUP, None)
        await asyncio.sleep(0)
        return [each.getMessage() for each in caplog.records if "GATEWAY_CONFIG" in each.message]

    assert await hang_up() == []
    file.write_text("HSTS_SECONDS = 2")
    expected = "GATEWAY_CONFIG has changed. That takes effect when the server is started again."
    assert await hang_up() == [expected]


async def test_worker_counts_that_it_has_former_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers, counted = dict[int, Any](), list[str]()
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(gateway, "count", counted.append)
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    lifespan._handle_parents_signals()
    handlers[signal.SIGUSR1](signal.SIGUSR1, None)
    await asyncio.sleep(0)
    assert counted == ["workers.outdated"]


async def test_log_is_written_before_a_server_sends_itself_the_signal_that_ended_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DRAIN_SECONDS = 0
    finished: list[bool] = []
    monkeypatch.setattr(log_queue, "finish", lambda: finished.append(True))
    await live()
    assert finished == [True]


async def test_fault_of_the_settings_fails_the_start_instead_of_serving_without_a_lifespan(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def fail() -> None:
        raise ImproperlyConfigured("The name of the table is invalid.")

    settings.DRAIN_SECONDS = 0
    monkeypatch.setattr(trail, "start", fail)
    assert await live() == ["lifespan.startup.failed"]


async def test_start_looks_at_the_migrations_and_waits_for_nothing(
    begun: list[str], settings: Settings
) -> None:
    settings.DRAIN_SECONDS = 0
    await live()
    assert begun == ["migrations"]
