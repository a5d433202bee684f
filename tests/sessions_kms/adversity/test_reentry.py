"""Handlers called during a load may read the user: they get an error and do not hang."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import ErrorCheckingLock
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.services import id_of
from tests.sessions_kms.support.fakes import State
from tests.sessions_kms.support.sessions import saved_key
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import WITHIN, in_time


class Asking(logging.Handler):
    """Asks something whenever something is logged, as an error tracker does that adds the user."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__()
        self._ask = ask
        self.refused = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._ask()
        except StoreUnavailable:
            self.refused += 1


@contextmanager
def asking(logger: str, ask: Callable[[], object]) -> Iterator[Asking]:
    handler = Asking(ask)
    log = logging.getLogger(logger)
    log.addHandler(handler)
    try:
        yield handler
    finally:
        log.removeHandler(handler)


def refuse_cold(fake: Stack) -> None:
    """Have KMS refuse its key to a process that holds nothing of it."""
    caching: Any = fake.services.keyring
    caching._drop(lambda _entry: True)
    caching._keyring._keyring._kms.set_state(State.REFUSING)


@pytest.fixture
def key(fake: Stack) -> str:
    return saved_key(a=1)


def test_handler_of_a_refused_record_does_not_hang(fake: Stack, key: str) -> None:
    item = fake.items()[id_of(key)]
    fake.put_item({**item, "authTag": {"B": bytes(16)}})
    session = SessionStore(key)
    with asking("django.security.SuspiciousSession", lambda: session.get("a")) as handler:
        assert in_time(lambda: session.get("a")) is None
    assert handler.refused == 1


def test_handler_of_a_refused_kms_key_does_not_hang(fake: Stack, key: str) -> None:
    refuse_cold(fake)
    session = SessionStore(key)
    with asking("sessions_kms.data_keys.cached_keyring", lambda: session.get("a")) as handler:
        assert isinstance(in_time(lambda: session.get("a")), StoreUnavailable)
    assert handler.refused == 1


def test_other_session_is_refused_within_the_flight_of_its_data_key(fake: Stack, key: str) -> None:
    refuse_cold(fake)
    with asking(
        "sessions_kms.data_keys.cached_keyring", lambda: SessionStore(key).get("a")
    ) as handler:
        assert isinstance(in_time(lambda: SessionStore(key).get("a")), StoreUnavailable)
    assert handler.refused == 1


def test_handler_during_the_creation_of_services_does_not_hang(settings: Settings) -> None:
    settings.SESSIONS_KMS = {
        "KEY_ID": "arn:aws:kms:eu-west-1:123456789012:key/abc",
        "TABLE_NAME": "sessions",
    }
    services.reset()
    logging.getLogger("botocore").setLevel(logging.INFO)
    try:
        with asking("botocore", services.services) as handler:
            assert isinstance(in_time(services.services), services.Services)
        assert handler.refused
    finally:
        logging.getLogger("botocore").setLevel(logging.NOTSET)


def test_guarded_lock_admits_one_at_a_time_and_is_released_after_an_error() -> None:
    lock = ErrorCheckingLock()
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    entered = threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    with lock:
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.05)
    thread.join(WITHIN)
    assert entered.is_set()
