"""A prefetched session equals the one that Django would load, for its first load only."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from sessions_kms import ahead, conf, services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.exceptions import StoreUnavailable, TableUnavailable
from sessions_kms.middleware import StoreUnavailableMiddleware
from sessions_kms.session import prefetch
from sessions_kms.session.next_cookie import KeyChange
from tests.sessions_kms.support.stacks import Stack, fake_stack, install
from tests.support.clock import FakeClock

NAME = settings.SESSION_COOKIE_NAME
READ = "GetItem session"


@pytest.fixture
def stack() -> Stack:
    stack = fake_stack(FakeClock())
    install(stack.services)
    return stack


async def store_session(**content: Any) -> str:
    session = SessionStore()
    await session.aupdate(content)
    await session.asave()
    return str(session.session_key)


def serve(cookies: dict[str, str], view: Any) -> HttpResponse:
    """Answer a request as Django does, in this very thread."""
    request = RequestFactory().get("/")
    request.COOKIES.update(cookies)
    chain = StoreUnavailableMiddleware(SessionMiddleware(view))
    response = chain(request)
    assert isinstance(response, HttpResponse)
    return response


async def test_first_load_needs_no_thread_and_makes_no_call(stack: Stack) -> None:
    key = await store_session(a=1)
    reads = stack.dynamodb.calls.count(READ)
    async with ahead.session({NAME: key}) as content:
        assert dict(content) == {"a": 1}
        session = SessionStore(key)
        assert session["a"] == 1
        assert session.session_key == key
        with pytest.raises(SynchronousOnlyOperation):
            SessionStore(key)["a"]
    assert stack.dynamodb.calls.count(READ) == reads + 1
    with pytest.raises(SynchronousOnlyOperation):
        SessionStore(key)["a"]


async def test_work_after_its_request_loads_again(stack: Stack) -> None:
    """Tasks and threads that a request starts have its context, for as long as they live."""
    key = await store_session(a=1)
    is_over = asyncio.Event()

    async def later() -> Any:
        await is_over.wait()
        return await SessionStore(key).aget("a")

    async with ahead.session({NAME: key}):
        task = asyncio.create_task(later())
    session = SessionStore(key)
    await session.aset("a", 2)
    await session.asave()
    is_over.set()
    assert await task == 2


async def test_concurrent_first_loads_both_find_the_session(stack: Stack) -> None:
    key = await store_session(a=1)
    async with ahead.session({NAME: key}):
        first, second = prefetch.claim(key), prefetch.claim(key)
    assert first is not None
    assert second is None
    found = first.take()
    assert found is not None
    assert found[1] == {"a": 1}


async def test_abandoned_block_is_closed_in_any_context(stack: Stack) -> None:
    """As a loop that ends does with what is left, and the collector with a request's coroutines."""
    key = await store_session(a=1)
    entered = ahead.session({NAME: key})
    content = await asyncio.create_task(entered.__aenter__())
    assert content == {"a": 1}
    await entered.__aexit__(None, None, None)

    async def view(_: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        return HttpResponse()

    coroutine: Any = StoreUnavailableMiddleware(view)(RequestFactory().get("/"))
    copy_context().run(coroutine.send, None)
    coroutine.close()


@pytest.mark.parametrize("can_be", [True, False], ids=["made", "not made"])
async def test_services_are_not_made_in_the_loop_and_their_error_is_the_loads(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, can_be: bool
) -> None:
    key = await store_session(a=1)
    threads: list[int] = []

    def build(_: Any) -> Any:
        threads.append(threading.get_ident())
        if can_be:
            return stack.services
        raise TableUnavailable

    services.reset()
    monkeypatch.setattr(services, "build", build)
    monkeypatch.setattr(conf, "config", lambda: stack.config)
    async with ahead.session({NAME: key}) as content:
        assert content == ({"a": 1} if can_be else {})
        if not can_be:
            with pytest.raises(StoreUnavailable):
                SessionStore(key)["a"]
    assert threading.get_ident() not in threads[:1]


async def test_other_sessions_are_loaded(stack: Stack) -> None:
    key, other = await store_session(a=1), await store_session(a=2)
    async with ahead.session({NAME: key}):
        assert await SessionStore(other).aget("a") == 2


async def test_save_is_based_on_the_prefetched_version(stack: Stack) -> None:
    key = await store_session(a=1)
    async with ahead.session({NAME: key}):
        session = SessionStore(key)
        session["b"] = 2
        another = SessionStore(key)
        await another.aset("c", 3)
        await another.asave()
        await session.asave()
    assert await SessionStore(key).aitems() == {"a": 1, "b": 2, "c": 3}.items()


async def test_prefetched_content_is_read_only(stack: Stack) -> None:
    async with ahead.session({NAME: await store_session(a=1)}) as content:
        with pytest.raises(TypeError):
            content["a"] = 2  # type: ignore[index]


async def test_session_is_not_loaded_until_it_is_used(stack: Stack) -> None:
    """Whether it was is what decides on the cookie of a session that is none, and on Vary."""
    key = await store_session(a=1)
    await SessionStore(key).adelete()
    async with ahead.session({NAME: key}) as content:
        assert content == {}
        untouched = serve({NAME: key}, lambda request: HttpResponse())
        assert not untouched.cookies
        assert "Vary" not in untouched

    def asking(request: HttpRequest) -> HttpResponse:
        assert request.session.get("a") is None
        return HttpResponse()

    async with ahead.session({NAME: key}):
        asked = serve({NAME: key}, asking)
    assert asked.cookies[NAME]["max-age"] == 0


async def test_store_unavailable_is_raised_only_by_the_first_load(stack: Stack) -> None:
    key = await store_session(a=1)
    stack.dynamodb.unavailable = True
    async with ahead.session({NAME: key}) as content:
        assert content == {}
        assert serve({NAME: key}, lambda request: HttpResponse()).status_code == 200
        with pytest.raises(StoreUnavailable):
            SessionStore(key)["a"]


async def test_changed_key_is_found_and_adopted(stack: Stack) -> None:
    key = await store_session(a=1)
    session = SessionStore(key)
    await session.acycle_key()
    change = KeyChange.between(key, str(session.session_key), "django")
    cookies = {NAME: key, f"{NAME}-next-{change.new_id}": f"{change.new_key}.{change.old_id}"}

    def asking(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(request.session["a"]))

    async with ahead.session(cookies) as content:
        assert content["a"] == 1
        response = serve(cookies, asking)
    assert response.content == b"1"
    assert response.cookies[NAME].value == session.session_key


@pytest.mark.parametrize("cookies", [{}, {NAME: ""}, {NAME: "NOT-A-KEY"}, {"other": "a" * 32}])
async def test_invalid_key_makes_no_call(stack: Stack, cookies: dict[str, str]) -> None:
    calls = len(stack.dynamodb.calls)
    async with ahead.session(cookies) as content:
        assert content == {}
    assert len(stack.dynamodb.calls) == calls


async def test_wait_ahead_and_waits_within_are_bounded_together(stack: Stack) -> None:
    async with ahead.session({NAME: await store_session(a=1)}):
        deadline.spend(1)
        with deadline.request():
            left = deadline.budget_left()
    assert left is not None
    assert left < deadline.REQUEST - 0.9
    assert deadline.budget_left() is None


async def test_budget_ends_with_the_block_even_after_an_error(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whatever comes next in this context had only what this request left over."""

    @contextmanager
    def offer(_: prefetch.Prefetched) -> Iterator[None]:
        yield
        raise RuntimeError

    monkeypatch.setattr(prefetch, "offer", offer)
    entered = ahead.session({NAME: await store_session(a=1)})  # kept, so that no collector ends it
    await entered.__aenter__()
    assert deadline.budget_left() is not None
    with pytest.raises(RuntimeError):
        await entered.__aexit__(None, None, None)
    assert deadline.budget_left() is None
