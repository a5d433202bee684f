"""Signals for the audit trail; a failing receiver stops nothing."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.dispatch import Signal

from sessions_kms import signals
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.grant_store import GrantStore
from sessions_kms.services import id_of
from sessions_kms.session import repository
from tests.sessions_kms.support.sessions import save_changes, save_session
from tests.sessions_kms.support.stacks import Stack
from tests.support.signals import connect_receiver

SIGNALS = {name: value for name, value in vars(signals).items() if isinstance(value, Signal)}


@pytest.fixture
def received() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Collect what is sent, in its order."""
    found: list[tuple[str, dict[str, Any]]] = []
    receivers = {}
    for name, signal in SIGNALS.items():

        def receive(name: str = name, **details: Any) -> None:
            assert details.pop("sender") is None
            details.pop("signal")
            found.append((name, details))

        receivers[name] = receive
        signal.connect(receive)
    yield found
    for name, receiver in receivers.items():
        SIGNALS[name].disconnect(receiver)


Received = list[tuple[str, dict[str, Any]]]


def short(session: SessionStore) -> str:
    return id_of(session.session_key or "")[:8]


def test_life_of_a_session_sends_signals(stack: Stack, received: Received) -> None:
    session = save_session("7")
    first = short(session)
    session.cycle_key()
    second = short(session)
    session.delete()
    assert received == [
        ("session_created", {"session": first, "user_id": "7"}),
        ("session_cycled", {"session": second, "previous": first, "user_id": "7"}),
        ("session_ended", {"session": second}),
    ]


def test_signals_of_an_anonymous_session_have_no_user(fake: Stack, received: Received) -> None:
    session = save_session(a=1)
    assert received == [("session_created", {"session": short(session), "user_id": None})]


def test_read_and_save_announce_only_that_the_session_was_opened(
    fake: Stack, received: Received
) -> None:
    session = SessionStore()
    session.save()
    received.clear()
    save_changes(session.session_key, a=1)
    assert [name for name, _ in received] == ["session_opened"]


def test_signal_of_a_refused_record_has_its_reason(fake: Stack, received: Received) -> None:
    session = SessionStore()
    session.save()
    item = next(iter(fake.sessions().values()))
    fake.put_item({**item, "commitment": {"B": bytes(32)}})
    received.clear()
    assert SessionStore(session.session_key).load() == {}
    assert received == [("session_refused", {"session": short(session), "reason": "commitment"})]


def test_receiver_that_fails_stops_nothing(fake: Stack, caplog: pytest.LogCaptureFixture) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("the audit log is full")

    session = SessionStore()
    session["a"] = 1
    with connect_receiver(signals.session_created, fail), caplog.at_level(logging.ERROR):
        session.save()
    assert SessionStore(session.session_key)["a"] == 1
    assert "the audit log is full" in caplog.text


def test_session_is_announced_once_an_hour_to_whoever_listens(
    stack: Stack, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_700_000_000.0]
    monkeypatch.setattr(repository, "system_time", lambda: clock[0])
    monkeypatch.setattr(repository, "_opened", repository.OpenedSessions())
    session, grant = SessionStore(), GrantStore()
    for each in (session, grant):
        each[USER_ID] = "7"
    session.save()
    grant["_about"] = {"client": "Claude", "client_id": "https://claude.test/client.json"}
    run_sync(grant.start_grant())
    other = SessionStore()
    other.save()
    received.clear()

    def load_all() -> list[dict[str, Any]]:
        for each in (session, other):
            SessionStore(each.session_key).load()
        assert run_sync(GrantStore(grant.session_key).load_grant())
        SessionStore("z" * 32).load()
        return [details for name, details in received if name == "session_opened"]

    first = [
        {"session": short(session), "user_id": "7", "client_id": None},
        {"session": short(other), "user_id": None, "client_id": None},
        {"session": short(grant), "user_id": "7", "client_id": "https://claude.test/client.json"},
    ]
    assert load_all() == first
    assert load_all() == first, "announced twice in an hour"
    clock[0] += 3600
    assert load_all() == first * 2
    clock[0] -= 3600
    assert load_all() == first * 3, "a clock that was set back hid sessions"


def test_announced_sessions_of_an_hour_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "REMEMBERED_MAX", 3)
    sessions = repository.OpenedSessions()
    assert all(sessions.add(name, 0) for name in "abcd")
    assert sessions.add("a", 0), "rather announced again than not at all"
