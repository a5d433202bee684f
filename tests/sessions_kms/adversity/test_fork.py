"""A forked child starts afresh, whatever its parent's threads held at that moment."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.aws import calls, clients
from sessions_kms.aws import kms as aws
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.threads import executor
from sessions_kms.concurrency.waits import CALLS, ErrorCheckingLock
from sessions_kms.http import connecting
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.sessions import saved_key
from tests.sessions_kms.support.stacks import Stack, settings_of
from tests.support.clock import FakeClock
from tests.support.forking import in_child

pytestmark = [
    pytest.mark.parametrize("make_stack", ["servers"], indirect=True),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.timeout(60),
]
SESSIONS = 10


@pytest.fixture
def stack(make_stack: MakeStack, clock: FakeClock, settings: Settings) -> Stack:
    clock.now = time.time()  # The child builds its services from the settings, with a real clock.
    stack = make_stack()
    settings.SESSIONS_KMS = settings_of(stack.config) | {"REGION_NAME": stack.config.region_name}
    services._services = stack.services  # Changed settings dropped them.
    return stack


@contextmanager
def held(*locks: Any) -> Iterator[None]:
    """Have another thread hold locks meanwhile, as a request in the parent would."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as holding:
            for lock in locks:
                holding.enter_context(lock)
            taken.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        done.set()
        thread.join(10)


def reads_and_saves(key: str) -> Callable[[], Any]:
    """Give the work of a request: read a session, and save a new one."""
    return lambda: [SessionStore(key).get("a"), SessionStore(saved_key(b=2)).get("b")]


def is_lock(value: Any) -> bool:
    return isinstance(value, type(threading.Lock()) | type(threading.RLock()) | ErrorCheckingLock)


def parts_of_waiting() -> list[Any]:
    service: Any = calls.service("dynamodb")
    return [service.circuit, service.quota, connecting.resolver._lookups]


def locks_of(stack: Stack) -> list[Any]:
    cache: Any = stack.services.keyring
    return [
        services._lock,
        clients._clients_lock,
        *[lock for part in parts_of_waiting() for lock in vars(part).values() if is_lock(lock)],
        cache._lock,
        cache._background._busy,
        cache._flights._lock,
        stack.services.write_queues.lock,
        stack.services.not_before._raising,
        stack.services.not_before._reading._lock,
    ]


def test_child_forked_while_every_lock_is_held_can_use_sessions(stack: Stack) -> None:
    key = saved_key(a=1)
    with held(*locks_of(stack)):
        assert in_child(reads_and_saves(key)) == [1, 2]


def test_child_forked_while_its_parent_writes_a_session_does_not_wait_for_it(stack: Stack) -> None:
    key = saved_key(a=1)
    mine = SessionStore(key)
    mine["b"] = 2
    baseline = mine._baseline
    assert baseline is not None

    def save() -> Any:
        mine.save()
        return SessionStore(key)["b"]

    place = stack.services.write_queues.join(baseline.id, None)  # and leads, until it leaves
    try:
        assert in_child(save) == 2
    finally:
        place.leave()


def test_list_of_locks_is_complete(stack: Stack) -> None:
    parts: list[Any] = [services, aws, clients, stack.services.not_before]
    parts += [calls, connecting, *parts_of_waiting(), stack.services.write_queues]
    cache: Any = stack.services.keyring
    parts += [stack.services.not_before._reading]
    parts += [cache, cache._background, cache._flights, cache._keyring, cache._keyring._keyring]
    found = [value for part in parts for value in vars(part).values() if is_lock(value)]
    assert {id(lock) for lock in found} == {id(lock) for lock in locks_of(stack)}


def test_child_forked_in_the_middle_of_a_flight_makes_one_of_its_own(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, ask = os.getpid(), aws.KMS.generate_data_key
    flying, go_on = threading.Event(), threading.Event()

    def slow_in_the_parent(*args: Any) -> aws.DataKeyResponse:
        if os.getpid() == parent:
            flying.set()
            go_on.wait(30)
        return ask(*args)

    monkeypatch.setattr(aws.KMS, "generate_data_key", slow_in_the_parent)
    keys: list[str] = []
    thread = threading.Thread(target=lambda: keys.append(saved_key(a=1)))
    thread.start()
    try:
        assert flying.wait(10)
        # Its own flight publishes first; the parent's then adopts that data key.
        assert in_child(lambda: SessionStore(saved_key(b=2)).get("b")) == 2
    finally:
        go_on.set()
        thread.join(20)
    assert SessionStore(keys[0]).get("a") == 1
    assert len({item["encryptedKey"]["B"] for item in stack.sessions().values()}) == 1


def test_child_has_clients_and_services_of_its_own(stack: Stack) -> None:
    saved_key(a=1)

    def find() -> list[Any]:
        threads = executor("sessions_kms-calls", CALLS)
        return [services.services(), clients.kms_client("eu-west-1"), threads]

    # The parent's live on while the child makes its own, so no address can be used twice.
    keep = find()
    assert not {id(each) for each in keep} & set(in_child(lambda: [id(each) for each in find()]))
    assert keep[0] is stack.services


def test_records_of_parent_and_child_never_share_randomness(stack: Stack) -> None:
    saved_key(warm=True)

    def save_some() -> list[str]:
        return [saved_key(number=number) for number in range(SESSIONS)]

    keys = {*in_child(save_some), *in_child(save_some), *save_some()}
    assert len(keys) == 3 * SESSIONS
    items = list(stack.sessions().values())
    assert len(items) == 3 * SESSIONS + 1
    for name in ("salt", "iv", "id", "commitment"):
        assert len({str(item[name]) for item in items}) == len(items)


async def test_child_forked_after_async_use_has_a_living_executor(stack: Stack) -> None:
    session = SessionStore()
    await session.aset("a", 1)
    await session.asave()
    key = session.session_key or ""

    def read_in_a_loop() -> Any:
        asyncio.set_event_loop(None)
        asyncio._set_running_loop(None)
        return asyncio.run(SessionStore(key).aget("a"))

    assert in_child(read_in_a_loop) == 1
