"""Slow pages of one person, in many tabs and sessions, do not delay others."""

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from pytest_django import Settings

from gateway_site.forwarding.asgi import GatewayHandler
from gateway_site.forwarding.calls.user_cache import UserCache
from gateway_site.forwarding.pages import pages
from gateway_site.forwarding.thread_pools import THREADS, personal
from tests.gateway_site.support.in_process import (
    a_session,
    ask,
    in_a_new_loop,
    signed_in_key,
)
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

TABS, SESSIONS = 40, 10
go_on = threading.Event()


def hold_in_a_thread(request: HttpRequest) -> str:
    assert not request.GET or go_on.wait(30)
    return "read"


@personal
def list_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(hold_in_a_thread(request))


@csrf_exempt
def end_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(hold_in_a_thread(request))


urlpatterns = [path("listed", list_page), path("ended", end_page)]


@pytest.fixture(params=["list", "end"])
def page(request: pytest.FixtureRequest, settings: Settings) -> tuple[str, str]:
    """Return method and address of a page."""
    return ("POST", "/ended") if request.param == "end" else ("GET", "/listed")


@pytest.fixture(autouse=True)
def handler(
    page: tuple[str, str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GatewayHandler]:
    settings.ROOT_URLCONF = __name__
    install(fake_stack(FakeClock()).services)
    monkeypatch.setattr(UserCache, "cached_user", lambda _, session: User(pk=session[SESSION_KEY]))
    go_on.clear()
    yield GatewayHandler()
    go_on.set()


def places(handler: GatewayHandler) -> int:
    return handler._pages._pages._semaphore._free


def all_have_come(handler: GatewayHandler, waiting: int) -> bool:
    """Return True if the person has all places that one may have, and the rest waits for those."""
    (own, *_) = [*handler._pages._user_pages._semaphores.values(), None]
    return own is not None and (own._free, len(own._waiting)) == (0, waiting)


async def wait_until_settled(handler: GatewayHandler, waiting: int) -> None:
    while not all_have_come(handler, waiting):  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.001)
    assert places(handler) == THREADS - pages.USER_PAGES


def test_person_of_many_tabs_and_sessions_leaves_places_to_others(
    handler: GatewayHandler, page: tuple[str, str]
) -> None:
    method, address = page
    ada, grace = [signed_in_key(1) for _ in range(SESSIONS)], signed_in_key(2)

    async def many() -> tuple[int, list[int]]:
        tabs = [
            asyncio.create_task(
                ask(handler, f"{address}?held-up", ada[n % SESSIONS], method=method)
            )
            for n in range(TABS)
        ]
        await wait_until_settled(handler, TABS - pages.USER_PAGES)
        another = (await ask(handler, address, grace, method=method))[0]
        assert not [each for each in tabs if each.done()]
        go_on.set()
        return another, [each[0] for each in await asyncio.gather(*tabs)]

    assert in_a_new_loop(many) == (200, [200] * TABS)
    gc.collect()
    assert (places(handler), len(handler._pages._user_pages)) == (THREADS, 0)


def test_page_that_waits_too_long_for_the_persons_other_pages_is_asked_to_retry(
    handler: GatewayHandler, page: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler._pages._user_pages, "_timeout", 0.01)
    method, address = page
    key = signed_in_key(1)

    async def one_too_many() -> tuple[int, list[int]]:
        tabs = [
            asyncio.create_task(ask(handler, f"{address}?held-up", key, method=method))
            for _ in range(pages.USER_PAGES)
        ]
        await wait_until_settled(handler, 0)
        late = (await ask(handler, address, key, method=method))[0]
        go_on.set()
        return late, [each[0] for each in await asyncio.gather(*tabs)]

    assert in_a_new_loop(one_too_many) == (503, [200] * pages.USER_PAGES)
    assert places(handler) == THREADS


@pytest.mark.parametrize("page", ["end"], indirect=True)
def test_visitors_who_are_not_signed_in_are_no_person(handler: GatewayHandler) -> None:
    """Each of them may have what all have: nobody knows whose a visit is."""
    key = a_session(visited=True)

    async def visits() -> list[int]:
        tabs = [
            asyncio.create_task(ask(handler, "/ended?held-up", key, method="POST"))
            for _ in range(THREADS)
        ]
        while places(handler):  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0.001)
        go_on.set()
        return [each[0] for each in await asyncio.gather(*tabs)]

    assert in_a_new_loop(visits) == [200] * THREADS
