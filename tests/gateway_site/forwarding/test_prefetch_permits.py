"""A page that is read ahead has one place of its lane, and gives it back whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path
from pytest_django import Settings

from gateway_site.forwarding.handler import GatewayHandler
from gateway_site.forwarding.middleware_run import RequiresThread
from gateway_site.forwarding.prefetch import PageRequest, prefetches, take_prefetched
from gateway_site.forwarding.user_cache import UserCache
from sessions_kms import StoreUnavailable
from tests.gateway_site.forwarding.test_middleware_run import a_session, ask, in_a_new_loop
from tests.gateway_site.forwarding.test_prefetch import ADA, SIGNED_IN
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

HELD_UP = "held-up"  # a parameter: the read does not end


def _refuse() -> None:
    raise StoreUnavailable


def _need_a_thread() -> None:
    raise RequiresThread


def _fail() -> None:
    raise ZeroDivisionError


ENDS: dict[str, Callable[[], None]] = {
    "refused": _refuse,
    "in-a-thread": _need_a_thread,
    "failed": _fail,
}


async def reading(asked: PageRequest) -> str:
    for name in asked.query():
        if name == HELD_UP:
            await asyncio.get_running_loop().create_future()
        ENDS[name]()
    return "read ahead"


@prefetches(read=reading)
def shown(request: HttpRequest) -> HttpResponse:
    return HttpResponse(take_prefetched(request, "read", lambda: "by itself"))


urlpatterns = [path("shown", shown)]
handler500 = "gateway_site.outages.server_error"


@pytest.fixture(autouse=True)
def handler(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> GatewayHandler:
    """Have one place for pages, which a page does not wait long for."""
    settings.ROOT_URLCONF = "tests.gateway_site.forwarding.test_prefetch_permits"
    install(fake_stack(FakeClock()).services)
    monkeypatch.setattr(UserCache, "cached_user", lambda *_: ADA)
    monkeypatch.setattr("gateway_site.forwarding.handler.THREADS", 1)
    made = GatewayHandler()
    monkeypatch.setattr(made._pages._semaphore, "_timeout", 0.05)
    return made


async def free(handler: GatewayHandler, free: int) -> None:
    """Wait until so many places are free."""
    while handler._pages._semaphore._free != free:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0)


def test_prefetching_page_occupies_the_place_of_a_thread(handler: GatewayHandler) -> None:
    """Else any number of them would wait for the store, and queue for threads."""
    key = a_session(**SIGNED_IN)

    async def two() -> int:
        first = asyncio.create_task(ask(handler, f"/shown?{HELD_UP}", key))
        await free(handler, 0)
        status = (await ask(handler, "/shown", key))[0]
        first.cancel()
        await free(handler, 1)
        return status

    assert in_a_new_loop(two) == 503


@pytest.mark.parametrize(
    ("end", "status"), [("refused", 503), ("in-a-thread", 200), ("failed", 500)]
)
def test_place_is_given_back(handler: GatewayHandler, end: str, status: int) -> None:
    key = a_session(**SIGNED_IN)

    async def two() -> list[int]:
        return [(await ask(handler, f"/shown{query}", key))[0] for query in (f"?{end}", "")]

    assert in_a_new_loop(two) == [status, 200]
    assert handler._pages._semaphore._free == 1
