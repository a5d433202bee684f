"""A page has one place of its pool, and gives it back whatever becomes of it.

If slow pages have all places, visitors can still sign in, and others get a page that says so.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from django.http import HttpRequest, HttpResponse
from django.template import Template
from django.urls import path
from pytest_django import Settings

from gateway_site.forwarding.asgi import GatewayHandler
from gateway_site.forwarding.pages.pages import SIGN_IN_PAGE
from gateway_site.forwarding.thread_pools import THREADS, personal
from sessions_kms import StoreUnavailable
from tests.gateway_site.support.in_process import Response, a_session, ask, in_a_new_loop
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock


def _refuse() -> None:
    raise StoreUnavailable


def _fail() -> None:
    raise ZeroDivisionError


go_on = threading.Event()
ENDS: dict[str, Callable[[], None]] = {"refused": _refuse, "failed": _fail}


@personal
def show_place(request: HttpRequest) -> HttpResponse:
    for name in request.GET:
        ENDS[name]()
    return HttpResponse("read")


def slow(request: HttpRequest) -> HttpResponse:
    assert go_on.wait(30)
    return HttpResponse("listed")


urlpatterns = [
    path("shown", show_place),
    path("slow", slow),
    path("login", lambda _: HttpResponse("sign in"), name=SIGN_IN_PAGE),
]
handler500 = "gateway_site.outages.server_error"


@pytest.mark.parametrize(("end", "status"), [("refused", 503), ("failed", 500)])
def test_place_is_given_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, end: str, status: int
) -> None:
    settings.ROOT_URLCONF = __name__
    install(fake_stack(FakeClock()).services)
    monkeypatch.setattr("gateway_site.forwarding.pages.pages.THREADS", 1)
    handler, key = GatewayHandler(), a_session(visited=True)

    async def two() -> list[int]:
        return [(await ask(handler, f"/shown{query}", key))[0] for query in (f"?{end}", "")]

    assert in_a_new_loop(two) == [status, 200]
    assert handler._pages._pages._semaphore._free == 1


@pytest.fixture
def busy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayHandler]:
    """Return a handler with a short queue; its slow pages end with the test."""
    settings.ROOT_URLCONF = __name__
    install(fake_stack(FakeClock()).services)
    go_on.clear()
    handler = GatewayHandler()
    monkeypatch.setattr(handler._pages._pages._semaphore, "_timeout", 0.01)
    yield handler
    go_on.set()


async def beside_slow_pages(handler: GatewayHandler, address: str) -> Response:
    """Return the response at an address while slow pages have all places."""
    slow_pages = [asyncio.create_task(ask(handler, "/slow")) for _ in range(THREADS)]
    while handler._pages._pages._semaphore._free:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.001)
    response = await ask(handler, address)
    go_on.set()
    assert {status for status, *_ in await asyncio.gather(*slow_pages)} == {200}
    return response


def test_sign_in_page_does_not_wait_for_slow_pages(busy: GatewayHandler) -> None:
    status, content, _ = in_a_new_loop(lambda: beside_slow_pages(busy, "/login"))
    assert (status, content) == (200, b"sign in")


def test_page_for_which_no_thread_is_free_is_a_503_that_nothing_renders(
    busy: GatewayHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Template, "render", None)  # Rendering it would be a TypeError.
    status, content, headers = in_a_new_loop(lambda: beside_slow_pages(busy, "/slow"))
    assert (status, b"Back in a moment" in content) == (503, True)
    assert dict(headers)[b"Retry-After"] == b"5"
