"""Signals for the audit trail; a failing receiver stops nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.dispatch import Signal

from sessions_kms import signals
from sessions_kms.backend import SessionStore
from sessions_kms.services import id_of
from tests.sessions_kms.support.stacks import Stack

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
    session = SessionStore()
    session[USER_ID] = "7"
    session.save()
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
    session = SessionStore()
    session["a"] = 1
    session.save()
    assert received == [("session_created", {"session": short(session), "user_id": None})]


def test_read_and_save_are_nothing_to_audit(fake: Stack, received: Received) -> None:
    session = SessionStore()
    session.save()
    received.clear()
    other = SessionStore(session.session_key)
    other["a"] = 1
    other.save()
    assert received == []


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

    signals.session_created.connect(fail)
    try:
        session = SessionStore()
        session["a"] = 1
        with caplog.at_level(logging.ERROR):
            session.save()
    finally:
        signals.session_created.disconnect(fail)
    assert SessionStore(session.session_key)["a"] == 1
    assert "the audit log is full" in caplog.text
