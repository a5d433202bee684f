"""Work in an event loop and in its threads; the loop is never blocked."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth import alogin, alogout, get_user_model
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from django.urls import path
from pytest_django import Settings

from sessions_kms import conf, services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline, threads
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.session.mixins import forbid_in_event_loop
from sessions_kms.signals import session_created, session_cycled, session_ended, session_refused
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support.memory_dynamodb import after
from tests.sessions_kms.support.sessions import saved_key, stored_item
from tests.sessions_kms.support.stacks import Stack, install
from tests.sessions_kms.support.stories import WITHIN, save_content, wait_until_true
from tests.support.signals import connect_receiver

MANY = 64


@pytest.fixture
def world() -> World:
    made = World(1)
    install(made.processes[0])
    return made


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect what an event loop has done in threads."""
    found: list[str] = []

    def note(apart: Callable[..., Any], **kwargs: Any) -> Any:
        def call(work: partial[Any]) -> Any:
            found.append(getattr(work.func, "__qualname__", repr(work)))
            return sync_to_async(apart, **kwargs)(work)

        return call

    monkeypatch.setattr(threads, "sync_to_async", note)
    threads._caller_in.cache_clear()
    yield found
    threads._caller_in.cache_clear()


# Threads


async def test_nothing_but_calls_that_block_is_done_in_a_thread(
    world: World, in_threads: list[str]
) -> None:
    """The client of this table blocks, as boto's does; what is over the calls needs no thread."""
    session = SessionStore()
    await session.aset("a", 1)
    await session.asave()
    key = str(session.session_key)
    in_threads.clear()
    world.wire.calls.clear()
    assert await SessionStore(key).aexists(key)
    session = SessionStore(key)
    await session.aload()
    await session.aset("b", 1)
    await session.asave()
    await session.acycle_key()
    await session.adelete()
    assert "Decrypt" not in world.wire.calls
    assert in_threads.count("BlockingCall._start_in_time") == len(world.wire.calls) > 5
    assert {*in_threads} <= {
        "BlockingCall._start_in_time",
        "ReceiverCall._call_receivers",
    }  # others'


async def test_unwrapping_a_data_key_delays_no_other_load() -> None:
    world = World(2, data_key_period=0)
    install(world.processes[0])
    held, cold = await asyncio.to_thread(lambda: (save_content(held=1), save_content(cold=1)))
    install(world.processes[1])
    assert await SessionStore(held).aget("held") == 1
    asked, go_on = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        asked.set()
        assert go_on.wait(WITHIN)

    world.kms.during = hang
    missing = asyncio.ensure_future(SessionStore(cold).aget("cold"))
    await wait_until_true(asked.is_set)
    for _ in range(3):
        assert await asyncio.wait_for(SessionStore(held).aget("held"), WITHIN) == 1
    assert not missing.done()
    go_on.set()
    assert await asyncio.wait_for(missing, WITHIN) == 1


async def test_services_are_made_once_and_not_in_the_loop(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await asyncio.to_thread(saved_key, a=1)
    began, go_on, made = threading.Event(), threading.Event(), list[int]()

    def build(_: conf.Config) -> services.Services:
        made.append(threading.get_ident())
        began.set()
        assert go_on.wait(WITHIN)
        return fake.services

    services.reset()
    monkeypatch.setattr(services, "build", build)
    monkeypatch.setattr(conf, "config", lambda: fake.config)
    first = SessionStore(key)
    asked: list[Awaitable[Any]] = [first.aload(), SessionStore(key).aget("a"), first.aexists(key)]
    asked += [first.asave(), SessionStore(key).aprefetch()]
    tasks = [asyncio.ensure_future(each) for each in asked]
    await wait_until_true(began.is_set)  # The loop continues in the meantime.
    go_on.set()
    results = await asyncio.wait_for(asyncio.gather(*tasks), WITHIN)
    assert results[:3] == [{"a": 1}, 1, True]
    assert len(made) == 1
    assert made[0] != threading.get_ident()


# Receivers


@pytest.fixture
async def results() -> AsyncIterator[list[str]]:
    """Collect the signals of receivers that must not be called in an event loop."""
    found: list[str] = []
    signals = {
        "created": session_created,
        "cycled": session_cycled,
        "ended": session_ended,
        "refused": session_refused,
    }
    receivers = {}
    for name, signal in signals.items():

        def receive(name: str = name, **_: Any) -> None:
            forbid_in_event_loop()  # as the ORM does
            found.append(name)

        receivers[name] = receive
        signal.connect(receive)
    yield found
    for name, signal in signals.items():
        signal.disconnect(receivers[name])


async def test_receivers_may_block(
    world: World, results: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.db.close_old_connections", lambda: results.append("closed"))
    session = SessionStore()
    await session.acreate()
    await session.acycle_key()
    key = str(session.session_key)
    await session.adelete()
    assert results == [
        *("closed", "created", "closed"),
        *("closed", "cycled", "closed"),
        *("closed", "ended", "closed"),
    ]
    assert not await session.aexists(key)


async def test_receiver_that_fails_or_is_a_coroutine_stops_nothing(world: World) -> None:
    seen: list[bool] = []

    async def receive(**_: Any) -> None:
        seen.append(asyncio.get_running_loop() is loop)

    def fail(**_: Any) -> None:
        raise RuntimeError("told by a test")

    loop = asyncio.get_running_loop()
    session = SessionStore()
    with connect_receiver(session_created, fail), connect_receiver(session_created, receive):
        await session.acreate()
    assert world.truth(str(session.session_key)) is not None
    assert seen == [True]


async def test_request_thread_waiting_for_a_load_delays_no_receiver(
    world: World, results: list[str]
) -> None:
    """What tells has the turn of the load, and Django's one thread of a request waits for it."""
    session = SessionStore(save_content(a=1))
    for item in world.table.items.values():
        if "authTag" in item:
            item["authTag"] = {"B": bytes(16)}
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        assert go_on.wait(WITHIN)

    world.table.on("GetItem session", after(hold))
    with deadline.request():
        load = asyncio.ensure_future(session.aget("a"))
        await wait_until_true(asked.is_set)
        in_thread = asyncio.ensure_future(sync_to_async(session.get)("a"))
        await wait_until_true(lambda: len(session._loading_lock._waiting) == 1)
        go_on.set()
        assert [*await asyncio.wait_for(asyncio.gather(load, in_thread), WITHIN)] == [None, None]
        left = deadline.budget_left()
    assert results == ["refused"]
    assert left is not None
    assert left > 1


# Many at once


async def test_64_threads_and_64_tasks_change_one_session_and_lose_nothing(world: World) -> None:
    key = save_content(a=1)
    barrier = threading.Barrier(MANY + 1)
    failed: list[BaseException] = []

    def write(number: int) -> None:
        session = SessionStore(key)
        session[f"thread{number}"] = number
        barrier.wait(WITHIN)
        try:
            session.save()
        except StoreUnavailable as error:
            failed.append(error)

    async def awrite(number: int) -> None:
        session = SessionStore(key)
        await session.aset(f"task{number}", number)
        await asyncio.to_thread(barrier.wait, WITHIN) if number == 0 else None
        await session.asave()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(MANY)]
    for thread in threads:
        thread.start()
    tasks = asyncio.gather(*(awrite(number) for number in range(MANY)))
    await asyncio.wait_for(tasks, WITHIN)
    for thread in threads:
        await asyncio.to_thread(thread.join, WITHIN)
    stands = world.truth(key)
    assert failed == []
    assert stands is not None
    assert len(stands.content) == 1 + 2 * MANY
    assert len(world.processes[0].write_queues) == 0


async def test_request_whose_time_is_over_begins_nothing(world: World) -> None:
    session = SessionStore(save_content(a=1))
    await session.aset("b", 2)
    world.wire.calls.clear()
    with deadline.request(deadline.LEAST / 2):
        for asked in (session.asave, session.acycle_key, SessionStore(session.session_key).aload):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(asked(), WITHIN)
    assert world.wire.calls == []
    assert session.session_key is not None


# Django's own


async def enter(request: HttpRequest) -> HttpResponse:
    user = await get_user_model().objects.aget(username="ada")
    await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse()


async def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse((await request.auser()).get_username())


async def leave(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse()


async def lazily(request: HttpRequest) -> HttpResponse:
    try:
        return HttpResponse(str(request.session[USER_ID]))
    except SynchronousOnlyOperation:
        return HttpResponse("refused")


urlpatterns = [path(view.__name__, view) for view in (enter, who, leave, lazily)]


@pytest.mark.django_db(transaction=True)
async def test_person_signs_in_and_out_in_async_views(fake: Stack, settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        "sessions_kms.middleware.StoreUnavailableMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    await get_user_model().objects.acreate_user("ada")
    client: Any = AsyncClient()
    assert (await client.get("/who")).content == b""
    await client.get("/enter")
    key = client.cookies[settings.SESSION_COOKIE_NAME].value
    assert (await client.get("/who")).content == b"ada"
    assert (await client.get("/lazily")).content == b"refused"
    await client.get("/leave")
    assert await asyncio.to_thread(stored_item, key) == {}
    assert (await client.get("/who")).content == b""
