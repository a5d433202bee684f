"""The engine's time is `time.time`, also if a tool replaces it after the engine was started."""

import time
from importlib import import_module

import pytest

from sessions_kms.aws.clock import ServerClock
from sessions_kms.backend import SessionStore
from sessions_kms.testing import MemoryStore
from tests.sessions_kms.testing.kit import content_of, make_session

WEEK = 7 * 24 * 3600


def test_replaced_time_is_read_at_once(kit: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_session(n=1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + WEEK - 60)
    assert content_of(key) == {"n": 1}
    monkeypatch.setattr(time, "time", lambda: now + WEEK + 60)
    assert content_of(key) == {}


def test_clock_of_production_follows_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ServerClock()
    monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)
    assert clock() == 1_900_000_000


def test_advanced_time_is_added(kit: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)
    kit.advance(days=1, hours=1, minutes=1, seconds=1)
    assert kit.now() == 1_900_000_000 + 86400 + 3600 + 60 + 1


def test_session_from_before_an_earlier_frozen_time_stays(kit: MemoryStore) -> None:
    freezegun = pytest.importorskip("freezegun")
    keys = [make_session(n=1)]
    with kit.isolated():
        make_session()
    with freezegun.freeze_time("2020-01-01") as frozen:
        assert content_of(keys[0]) == {"n": 1}
        keys.append(make_session(n=1))
        frozen.tick(60)
        assert content_of(keys[1]) == {"n": 1}
    assert [content_of(key) for key in keys] == [{"n": 1}] * 2


@pytest.mark.parametrize("frozen_at", ["2020-01-01", "2030-01-01"])
def test_time_that_freezegun_freezes_in_the_past_or_future_passes(
    kit: MemoryStore, frozen_at: str
) -> None:
    freezegun = pytest.importorskip("freezegun")
    with kit.isolated():
        make_session(n=1)
    with freezegun.freeze_time(frozen_at) as frozen:
        key = make_session(n=1)
        frozen.tick(WEEK - 60)
        assert content_of(key) == {"n": 1}
        frozen.tick(120)
        assert content_of(key) == {}


def test_freezegun_in_an_event_loop(kit: MemoryStore) -> None:
    freezegun = pytest.importorskip("freezegun")
    import asyncio

    async def load(key: str) -> object:
        return await SessionStore(key).aget("n")

    with freezegun.freeze_time("2030-01-01") as frozen:
        key = make_session(n=1)
        assert asyncio.run(load(key)) == 1
        frozen.tick(WEEK + 60)
        assert asyncio.run(load(key)) is None


def test_time_machine(kit: MemoryStore) -> None:
    time_machine = pytest.importorskip("time_machine")
    with time_machine.travel("2030-01-01", tick=False) as traveller:
        key = make_session(n=1)
        traveller.shift(WEEK - 60)
        assert content_of(key) == {"n": 1}
        traveller.shift(120)
        assert content_of(key) == {}


def test_kit_is_the_engine_in_force(kit: MemoryStore) -> None:
    store_class = import_module("sessions_kms.testing.backend").SessionStore
    assert store_class()._services.table._sender.client is kit.dynamodb
