"""Visits extend a session, seldom write, and never fail a request."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from pytest_django import Settings

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.format.attributes import ITEM_MAX_BYTES
from sessions_kms.grant_store import GrantStore
from sessions_kms.session import visits
from sessions_kms.session.visits import PAUSE, VisitPause
from sessions_kms.storage import session_items
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support import wire
from tests.sessions_kms.support.memory_dynamodb import after, refuse_write
from tests.sessions_kms.support.sessions import again, save_session
from tests.sessions_kms.support.stacks import Stack, another_process

IDLE = 1000
ABSOLUTE = 20_530
STEP = IDLE // 20
PUT = "PutItem session"


@pytest.fixture
def stack(make_fake: MakeStack, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Stack:
    settings.SESSION_COOKIE_AGE = IDLE
    made = make_fake(absolute_timeout=ABSOLUTE)
    monkeypatch.setattr(visits, "pause", VisitPause(made.clock))
    return made


Visit = Callable[[SessionStore], Awaitable[bool]]


async def visit_in_thread(session: SessionStore) -> bool:
    """Load and visit it as a request in a thread does; tell whether its response has the cookie."""

    def visit() -> bool:
        session.get("a")
        session.visit()
        return session.modified

    return await asyncio.to_thread(visit)


async def visit_in_loop(session: SessionStore) -> bool:
    await session.aget("a")
    await session.avisit()
    return session.modified


both = pytest.mark.parametrize("visit", [visit_in_thread, visit_in_loop])


def writes(stack: Stack) -> int:
    return stack.dynamodb.calls.count(PUT)


def end_of(stack: Stack) -> int:
    (item,) = stack.sessions().values()
    return int(item["ttl"]["N"])


async def save_anew(**content: Any) -> SessionStore:
    return await asyncio.to_thread(lambda: save_session(**content))


@both
async def test_session_that_is_visited_lasts_until_its_absolute_end(
    stack: Stack, visit: Visit
) -> None:
    session = await save_anew(a=1)
    began, stored = stack.clock(), writes(stack)
    in_one_idle_timeout = []
    while stack.clock() + STEP < began + ABSOLUTE:
        stack.clock.advance(STEP)
        was_written = writes(stack)
        renews_cookie = await visit(again(session))
        assert renews_cookie == (writes(stack) > was_written)
        in_one_idle_timeout.append(writes(stack) - was_written)
        assert sum(in_one_idle_timeout[-20:]) <= 10
    assert writes(stack) - stored < ABSOLUTE / STEP / 2
    assert end_of(stack) == began + ABSOLUTE
    stack.clock.advance(began + ABSOLUTE - stack.clock() - 0.001)
    assert await again(session).aget("a") == 1
    stack.clock.advance(0.001)
    assert await again(session).aget("a") is None


@both
async def test_visit_after_the_idle_end_finds_no_session(stack: Stack, visit: Visit) -> None:
    session = await save_anew(a=1)
    stack.clock.advance(IDLE)
    found = again(session)
    assert not await visit(found)
    assert found.session_key is None
    assert writes(stack) == 1


@both
async def test_visit_at_a_tenth_of_the_idle_timeout_writes_nothing(
    stack: Stack, visit: Visit
) -> None:
    session = await save_anew(a=1)
    stack.clock.advance(IDLE / 10)
    assert not await visit(again(session))
    assert writes(stack) == 1
    stack.clock.advance(1)
    assert await visit(again(session))
    assert end_of(stack) == stack.clock() + IDLE


def test_change_is_left_to_the_save_of_the_request(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(IDLE / 2)
    changed = again(session)
    changed["b"] = 2
    changed.visit()
    assert writes(stack) == 1
    changed.save()
    assert writes(stack) == 2


def test_session_that_was_not_loaded_is_not_visited(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(IDLE / 2)
    again(session).visit()
    assert writes(stack) == 1


@both
@pytest.mark.parametrize("fault", [refuse_write, wire.throttle, wire.unreachable])
async def test_store_that_fails_at_the_write_fails_no_visit(
    stack: Stack, visit: Visit, fault: wire.Fault, caplog: pytest.LogCaptureFixture
) -> None:
    session = await save_anew(a=1)
    stack.clock.advance(IDLE / 2)
    visitor = again(session)
    await visitor.aget("a")
    stack.dynamodb.on(PUT, fault)
    assert not await visit(visitor)
    assert visitor["a"] == 1
    assert [each.message for each in caplog.records if "A visit" in each.message]


@pytest.mark.parametrize("service", ["table", "KMS"])
async def test_visits_after_a_failure_wait_for_nothing_for_a_while(
    stack: Stack, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads work and writes do not: requests do not wait for them one after the other."""
    session = await save_anew(a=1)
    stack.clock.advance(IDLE / 2)
    failed: list[KMSUnavailable] = []

    async def fail(*_: object) -> None:
        failed.append(KMSUnavailable())
        raise failed[-1]

    with monkeypatch.context() as kms:
        if service == "KMS":
            kms.setattr(stack.services.keyring, "generate", fail)
        else:
            stack.dynamodb.on(PUT, refuse_write)
        for _ in range(3):
            assert not await visit_in_loop(again(session))
    assert writes(stack) + len(failed) == 2, "one visit was tried"
    stack.dynamodb.heal()
    stack.clock.advance(PAUSE - 0.1)
    assert not await visit_in_loop(again(session))
    stack.clock.advance(0.1)
    assert await visit_in_loop(again(session))


@both
async def test_session_that_has_just_ended_fails_no_visit_of_others(
    stack: Stack, visit: Visit
) -> None:
    ended, other = await save_anew(a=1), await save_anew(a=2)
    stack.clock.advance(IDLE / 2)
    visitor = again(ended)
    await visitor.aget("a")
    await again(ended).adelete(ended.session_key)
    assert not await visit(visitor)
    assert len(stack.sessions()) == 1, "the ended one is not stored again"
    assert await visit(again(other))


async def test_session_whose_item_cannot_grow_can_be_visited(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await save_anew(a="x" * 20_000)
    stack.clock.advance(IDLE / 2)
    monkeypatch.setattr(session_items, "ITEM_MAX_BYTES", 20_000)
    assert ITEM_MAX_BYTES > 20_000
    assert not await visit_in_loop(again(session))


async def test_visit_waits_for_the_store_no_longer_than_a_request_may(stack: Stack) -> None:
    session, left = await save_anew(a=1), list[float | None]()
    stack.clock.advance(IDLE / 2)
    stack.dynamodb.on(PUT, after(lambda: left.append(deadline.budget_left())))
    assert await visit_in_loop(again(session))
    assert left[0] is not None


@pytest.mark.parametrize("processes", [1, 2])
async def test_visits_at_the_same_time_write_once(stack: Stack, processes: int) -> None:
    """Another request, of this process or another one, extends it while this one is writing."""
    session = await save_anew(a=1)
    stack.clock.advance(IDLE / 2)
    one, other = again(session), again(session)
    await one.aget("a")
    await other.aget("a")
    if processes == 1:
        await asyncio.gather(one.avisit(), other.avisit())
        assert writes(stack) == 2
    else:

        def visit_elsewhere() -> None:
            stack.dynamodb.heal()
            with another_process(), ThreadPoolExecutor() as pool:
                pool.submit(other.visit).result()

        stack.dynamodb.on(PUT, after(visit_elsewhere))
        await one.avisit()
        assert writes(stack) == 3, "the one that conflicts is not repeated"
    assert one.modified
    assert other.modified
    assert end_of(stack) == stack.clock() + IDLE


def test_grant_is_not_extended_by_calls(stack: Stack) -> None:
    grant = GrantStore()
    grant[USER_ID] = "1"
    run_sync(grant.start_grant())
    stack.clock.advance(IDLE / 2)
    called = GrantStore(grant.session_key)
    assert run_sync(called.load_grant())
    before = end_of(stack)
    called.visit()
    asyncio.run(called.avisit())
    assert end_of(stack) == before
