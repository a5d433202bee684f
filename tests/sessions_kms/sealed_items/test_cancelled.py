"""Operations cancelled at any step in an event loop can be repeated."""

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, RLock
from typing import Any

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items.about import SessionMetadata
from sessions_kms.sealed_items.leases import Claim, Leases
from sessions_kms.sealed_items.sealing import Sealing
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import cancel_at, resume, waits_in

SECRET = "s" * 32
WORDS = {"browser": "Firefox"}


def seal_record(stack: Stack) -> SessionRecord:
    seal = run_sync(Sealing(stack.services).seal(b"{}"))
    return seal.record(SECRET, revision=1, created_at=seal.now, ttl=seal.now + 60)


def hold_lease(stack: Stack) -> Leases:
    leases = Leases(stack.services)
    assert run_sync(leases.claim(SECRET, "one", seconds=30)).held
    return leases


def keep_lease(stack: Stack) -> Leases:
    return complete_lease(stack)[0]


def complete_lease(stack: Stack) -> tuple[Leases, bytes]:
    leases = hold_lease(stack)
    stamp = run_sync(leases.complete(SECRET, "one", b"result", keep=600))
    assert stamp is not None
    return leases, stamp


async def completes(leases: Leases) -> bool:
    return await leases.complete(SECRET, "one", b"result", keep=60) is not None


async def replaces(leases: Leases, stamp: bytes) -> bool:
    return await leases.replace(SECRET, "one", b"result", stamp=stamp, keep=60)


def write_metadata(stack: Stack) -> tuple[SessionMetadata, SessionRecord]:
    about, record = SessionMetadata(stack.services), seal_record(stack)
    run_sync(about.write(record, WORDS))
    return about, record


# What is prepared, what is done with it, and whether that gave what it gives undisturbed.
CASES: dict[
    str, tuple[Callable[[Stack], Any], Callable[[Any], Coroutine[Any, Any, object]], Any]
] = {
    "claim": (
        lambda stack: Leases(stack.services),
        lambda leases: leases.claim(SECRET, "one", seconds=30),
        Claim(held=True),
    ),
    "claim what is done": (
        keep_lease,
        lambda leases: leases.claim(SECRET, "two", seconds=30),
        Claim(held=False, result=b"result"),
    ),
    "renew": (hold_lease, lambda leases: leases.renew(SECRET, "one", seconds=30), True),
    "complete": (hold_lease, completes, True),
    "replace": (complete_lease, lambda prepared: replaces(*prepared), True),
    "release": (hold_lease, lambda leases: leases.release(SECRET, "one"), None),
    "write": (
        lambda stack: (SessionMetadata(stack.services), seal_record(stack)),
        lambda prepared: prepared[0].write(prepared[1], WORDS),
        None,
    ),
    "read": (
        write_metadata,
        lambda prepared: prepared[0].read(prepared[1].id),
        WORDS,
    ),
    "open": (
        lambda stack: (Sealing(stack.services), seal_record(stack)),
        lambda prepared: prepared[0].open(prepared[1], SECRET),
        b"{}",
    ),
    "is live": (
        lambda stack: (stack.services, seal_record(stack)),
        lambda prepared: prepared[0].is_live(prepared[1]),
        True,
    ),
    "moment": (
        lambda stack: stack.services.not_before_of("provider"),
        lambda not_before: not_before.moment(),
        0,
    ),
}


LOCKS = (type(Lock()), type(RLock()))


def forget(stack: Stack) -> None:
    """Let go of the data keys that are held, so that KMS is asked in the middle."""
    keyring: Any = stack.services.keyring
    keyring._drop(lambda _: True)


@pytest.mark.parametrize("name", CASES)
def test_it_is_done_in_a_loop_and_can_be_cancelled_anywhere(
    make_fake: MakeStack, name: str
) -> None:
    prepare, begin, outcome = CASES[name]
    at, is_cancelled = 0, True
    while is_cancelled:
        stack = make_fake()
        prepared = prepare(stack)
        forget(stack)
        is_cancelled = cancel_at(begin(prepared), at)
        assert nobody_flies(stack)
        if is_cancelled:
            assert run_sync(begin(prepared)) == outcome
        at += 1
    assert at > 1


@pytest.mark.parametrize("name", CASES)
def test_no_lock_of_threads_is_held_while_it_waits(fake: Stack, name: str) -> None:
    prepare, begin, _ = CASES[name]
    prepared = prepare(fake)
    forget(fake)
    keyring: Any = fake.services.keyring
    views: list[Any] = [fake.services.not_before, fake.services.not_before_of("provider")]
    parts = [keyring, keyring._flights, keyring._background, fake.services.write_queues]
    parts += [part for view in views for part in (view, view._reading)]
    locks = [lock for part in parts for lock in vars(part).values() if isinstance(lock, LOCKS)]
    assert len(locks) >= len(parts)
    waits = 0
    with ThreadPoolExecutor(1) as another:  # whose own a lock is that this thread holds, it has
        for _wait in waits_in(begin(prepared)):
            waits += 1
            assert all(another.submit(is_free, lock).result() for lock in locks)
    assert waits


def is_free(lock: Any) -> bool:
    if not lock.acquire(blocking=False):
        return False
    lock.release()
    return True


def nobody_flies(stack: Stack) -> bool:
    keyring: Any = stack.services.keyring
    flights = [keyring._flights, stack.services.not_before._reading]
    flights.append(stack.services.not_before_of("provider")._reading)
    return not any(each._flights for each in flights)


async def test_fresh_cutoff_needs_no_wait(fake: Stack) -> None:
    await fake.services.not_before.moment()
    with pytest.raises(StopIteration):
        resume(fake.services.not_before.moment())
