"""Calls at once of a person who is not cached: few look the person up, and others do not wait."""

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.http import HttpRequest
from pytest_django import Settings

from gateway_site.forwarding.asgi import GatewayHandler
from gateway_site.forwarding.calls import caller, calls
from gateway_site.forwarding.calls import user_cache as caching
from gateway_site.forwarding.calls.user_cache import user_cache
from gateway_site.forwarding.thread_pools import THREADS
from gateway_site.rules.upstream import read_upstreams
from tests.gateway_site.support.gateways import upstream_variables
from tests.gateway_site.support.in_process import (
    ask,
    forward_call,
    in_a_new_loop,
    signed_in_key,
)
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

ADA, GRACE = 1, 2
CALLS, SESSIONS = 40, 10
CALL = "/gateway/api/x"


class Database:
    """Finds everybody; Ada only once it goes on."""

    def __init__(self) -> None:
        self.lookups: list[int] = []
        self.go_on = threading.Event()

    def find(self, request: HttpRequest) -> User:
        person = int(request.session[SESSION_KEY])
        self.lookups.append(person)
        assert person != ADA or self.go_on.wait(30)
        return User(pk=person)


@pytest.fixture
def database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    settings.UPSTREAMS = read_upstreams(upstream_variables("API", 9))
    settings.PERSON_CACHE_AGE = 3600  # so that a slow machine forgets nobody
    install(fake_stack(FakeClock()).services)
    found = Database()
    monkeypatch.setattr(caching, "_user_of_request", found.find)
    monkeypatch.setattr(calls, "make_call", forward_call)
    user_cache.cache_clear()
    yield found
    found.go_on.set()
    user_cache.cache_clear()


def all_have_come(handler: GatewayHandler, database: Database, waiting: int) -> bool:
    """Return True if the person has all threads that one may have, and the rest waits for those."""
    (own, *_) = [*handler._calls._users._queries._semaphores.values(), None]
    return own is not None and (len(database.lookups), own._free, len(own._waiting)) == (
        caller.USER_QUERIES,
        0,
        waiting,
    )


async def all_wait(handler: GatewayHandler, database: Database, waiting: int) -> None:
    while not all_have_come(handler, database, waiting):  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.001)


def test_few_calls_look_a_person_up_and_another_is_admitted_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = GatewayHandler()
    monkeypatch.setattr(handler._calls._users._queries, "_timeout", 30)
    ada, grace = [signed_in_key(ADA) for _ in range(SESSIONS)], signed_in_key(GRACE)

    async def many() -> tuple[int, Counter[tuple[int, bytes]]]:
        tasks = [asyncio.create_task(ask(handler, CALL, ada[n % SESSIONS])) for n in range(CALLS)]
        await all_wait(handler, database, CALLS - caller.USER_QUERIES)
        another = (await ask(handler, CALL, grace))[0]
        assert not [each for each in tasks if each.done()]
        database.go_on.set()
        return another, Counter([each[:2] for each in await asyncio.gather(*tasks)])

    assert in_a_new_loop(many) == (200, {(200, b"1"): CALLS})
    assert Counter(database.lookups) == {ADA: caller.USER_QUERIES, GRACE: 1}
    gc.collect()
    ours = handler._calls
    assert (ours._users._threads._semaphore._free, len(ours._users._queries)) == (THREADS, 0)


def test_call_that_waits_too_long_for_the_persons_other_calls_is_asked_to_retry(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, key = GatewayHandler(), signed_in_key(ADA)
    monkeypatch.setattr(handler._calls._users._queries, "_timeout", 0.01)

    async def one_too_many() -> tuple[int, list[int]]:
        tasks = [asyncio.create_task(ask(handler, CALL, key)) for _ in range(caller.USER_QUERIES)]
        await all_wait(handler, database, 0)
        late = (await ask(handler, CALL, key))[0]
        database.go_on.set()
        return late, [each[0] for each in await asyncio.gather(*tasks)]

    assert in_a_new_loop(one_too_many) == (503, [200] * caller.USER_QUERIES)
