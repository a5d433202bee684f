"""When a session ends in this process, so do its connections to upstreams."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sized
from dataclasses import dataclass
from typing import cast

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY

from gateway_site.transport import upstream_client as client
from gateway_site.transport.connection import Http1Connection
from gateway_site.transport.pool import Lease, Owner
from sessions_kms.backend import SessionStore
from sessions_kms.operations import ending
from sessions_kms.services import id_of, services
from tests.gateway_site.support.fake_line import Line
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock
from tests.support.forking import in_child


@dataclass
class Visitor:
    """A session, and its connections."""

    session: SessionStore
    owner: Owner
    idle: Line
    in_use: Lease[Http1Connection]


@pytest.fixture
def engine(clock: FakeClock) -> None:
    install(fake_stack(clock).services)


@pytest.fixture
async def pool(engine: None) -> AsyncIterator[client.Pool]:
    yield client.pool()
    await client.close()


async def visitor(pool: client.Pool, person: str) -> Visitor:
    session = SessionStore()
    session[SESSION_KEY] = person
    await sync_to_async(session.save)()
    owner = Owner(id_of(str(session.session_key)), person)

    async def connect() -> Http1Connection:
        return cast("Http1Connection", Line())

    leases = [await pool.take("api", owner, connect, seconds=60) for _ in range(2)]
    pool.give_back(leases[0])
    return Visitor(session, owner, cast("Line", leases[0].connection), leases[1])


def flush(visitor: Visitor) -> None:
    """Sign out, as Django does."""
    visitor.session.flush()


def cycle_key(visitor: Visitor) -> None:
    """Sign in again, as Django does."""
    visitor.session.cycle_key()


def end_by_key(visitor: Visitor) -> None:
    SessionStore().delete(visitor.session.session_key)


def end_by_id(visitor: Visitor) -> None:
    """End it from the list of sessions, or in the admin."""
    assert ending.end_session(services(), visitor.owner.holder, user_id=visitor.owner.person)


def end_all(visitor: Visitor) -> None:
    assert ending.end_sessions_of(services(), visitor.owner.person) == 1


@pytest.mark.parametrize("end", [flush, cycle_key, end_by_key, end_by_id, end_all])
async def test_end_of_a_session_ends_its_connections(
    pool: client.Pool, end: Callable[[Visitor], None]
) -> None:
    ada, grace = await visitor(pool, "1"), await visitor(pool, "2")
    await sync_to_async(end)(ada)  # in a thread, as all of Django is
    assert ada.idle.is_closed
    pool.give_back(ada.in_use)
    assert cast("Line", ada.in_use.connection).is_closed
    pool.give_back(grace.in_use)
    assert not grace.idle.is_closed
    assert not cast("Line", grace.in_use.connection).is_closed
    assert len(pool) == 2


async def test_ended_event_loop_does_not_disturb_others(engine: None) -> None:
    async def use() -> None:
        client.pool()

    ended = [asyncio.new_event_loop() for _ in range(2)]
    for loop in ended:
        await asyncio.to_thread(loop.run_until_complete, use())
    ended[0].close()
    pool = client.pool()
    assert ended[0] not in client._pools
    ended[1].close()
    ada = await visitor(pool, "1")
    await sync_to_async(flush)(ada)
    assert ada.idle.is_closed
    await client.close()
    client._pools.pop(ended[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_forked_child_has_none_of_its_parents_connections(pool: client.Pool) -> None:
    assert counted_in_child(client._pools) == 0
    assert client.pool() is pool


def counted_in_child(pools: Sized) -> int:
    return int(in_child(lambda: len(pools)))
