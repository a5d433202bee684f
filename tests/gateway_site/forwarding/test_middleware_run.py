"""Requests of a handler in this process: how calls and pages share it, and what they leave."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.core import signals
from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.urls import get_script_prefix, include, path
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt
from pytest_django import Settings

from gateway_site import urls
from gateway_site.checks import check_middleware_of_calls
from gateway_site.forwarding.asgi import GatewayHandler
from gateway_site.forwarding.pages.pages import MiddlewareChain, MiddlewareRun
from gateway_site.rules.upstream import read_upstreams
from sessions_kms.backend import SessionStore
from tests.gateway_site.support.gateways import upstream_variables
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]
TIMEOUT = 30  # seconds until a test that waits forever fails


@csrf_exempt
def reading(request: HttpRequest) -> HttpResponse:
    assert len(request.body) > len(request.POST["a"])
    return HttpResponse(len(request.POST["a"]))


urlpatterns = [path("reading", reading), path("", include(urls))]


class Foreign(CommonMiddleware):
    """A middleware that nobody has looked at."""


@pytest.fixture(autouse=True)
def project(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.gateway_site.forwarding.test_middleware_run"
    settings.UPSTREAMS = read_upstreams(upstream_variables("API", 9))
    install(fake_stack(FakeClock()).services)


def a_session(**content: Any) -> str:
    session = SessionStore()
    session.update(content)
    session.save()
    return str(session.session_key)


def signed_in(person: int) -> str:
    return a_session(
        **{
            SESSION_KEY: str(person),
            BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
            HASH_SESSION_KEY: User(pk=person).get_session_auth_hash(),
        }
    )


def in_a_new_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run in a thread that has no connection to the database, as a server's has none."""

    async def bounded() -> Any:
        async with asyncio.timeout(TIMEOUT):
            return await work()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(bounded())).result()


async def ask(
    handler: GatewayHandler,
    address: str,
    key: str = "",
    root: str = "",
    *,
    method: str = "GET",
    token: str | None = None,
) -> Answer:
    """Return status, content and headers of a raw ASGI call."""
    where, _, query = address.partition("?")
    told: list[dict[str, Any]] = []
    shown = (b"cookie", f"gateway_sessionid={key}".encode())
    if token is not None:
        shown = (b"authorization", f"Bearer {token}".encode())
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": root + where,
        "raw_path": (root + where).encode(),
        "query_string": query.encode(),
        "root_path": root,
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), shown],
    }

    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()  # The client stays.

    async def send(message: Any) -> None:
        told.append(message)

    await asyncio.create_task(handler(scope, receive, send))
    start, *pieces = told
    return start["status"], b"".join(piece.get("body", b"") for piece in pieces), start["headers"]


async def forwarded(call: Any, client: Any, send: Any, extra: Any) -> None:
    """Answer in place of the proxy, with the person's id."""
    await send({"type": "http.response.start", "status": 200, "headers": extra})
    await send({"type": "http.response.body", "body": call.owner.person.encode()})


def test_calls_that_interleave_leave_no_mark_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefix and language are what Django keeps beside the request."""
    keys = {name: a_session(name=name) for name in ("slow", "fast")}
    handler = GatewayHandler()
    read = SessionStore.aget

    async def both() -> list[Answer]:
        waits, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(self: SessionStore, *args: Any) -> Any:
            if self.session_key == keys["slow"]:
                waits.set()
                await go_on.wait()
            return await read(self, *args)

        monkeypatch.setattr(SessionStore, "aget", slowly)
        slow = asyncio.create_task(ask(handler, "/gateway/api/x", keys["slow"], "/slow"))
        await waits.wait()
        fast = [await ask(handler, "/gateway/api/x", keys["fast"], "/fast") for _ in range(2)]
        go_on.set()
        found = [*fast, await slow]
        assert (get_script_prefix(), translation.get_language()) == ("/", "en")
        return found

    found = [json.loads(body)["sign_in_url"] for _, body, _ in in_a_new_loop(both)]
    assert found == ["/fast/accounts/login/"] * 2 + ["/slow/accounts/login/"]


def test_call_waiting_for_a_thread_delays_no_call_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway_site.forwarding.calls.calls.ADMISSIONS", 1)
    monkeypatch.setattr("gateway_site.forwarding.calls.caller.THREADS", 1)
    go_on = threading.Event()
    handler, key = GatewayHandler(), signed_in(1)
    threads = handler._calls._users._threads
    run = threads._threads.submit(go_on.wait, TIMEOUT)  # the only thread

    async def both() -> Answer:
        waiting = asyncio.create_task(ask(handler, "/gateway/api/x", key))
        try:
            while threads._semaphore._free:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0)
            async with asyncio.timeout(TIMEOUT / 2):
                return await ask(handler, "/gateway/api/x")
        finally:
            go_on.set()
            waiting.cancel()

    assert in_a_new_loop(both)[0] == 401
    assert run.result()


@pytest.mark.parametrize("listens", [True, False])
def test_call_sends_the_signals_of_a_request_to_a_project_that_listens(
    monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    """It may block, so its receivers run in a thread; without any nothing is sent."""
    sent: list[Signal] = []
    received: list[tuple[Signal, str]] = []
    asend = Signal.asend

    def receive(signal: Signal, **_: Any) -> None:
        received.append((signal, threading.current_thread().name))

    async def noting(self: Signal, *args: Any, **more: Any) -> Any:
        sent.append(self)
        return await asend(self, *args, **more)

    monkeypatch.setattr(Signal, "asend", noting)
    both = [signals.request_started, signals.request_finished]
    for signal in both if listens else []:
        signal.connect(receive)
    try:
        handler = GatewayHandler()
        assert in_a_new_loop(lambda: ask(handler, "/gateway/api/x"))[0] == 401
    finally:
        for signal in both:
            signal.disconnect(receive)
    assert sent == [signal for signal, _ in received] == (both if listens else [])
    assert "MainThread" not in {thread for _, thread in received}


STEP, PAGES = "a step of calls", "pages only"
MIDDLEWARE = {
    "gateway_site.edge.own_cookies.OwnCookiesMiddleware": STEP,  # Calls._make_request
    "gateway_site.health.HealthMiddleware": PAGES,
    "gateway_site.edge.middleware.PublicAddressMiddleware": STEP,  # use_public_host
    "django.middleware.security.SecurityMiddleware": STEP,  # the redirect; fixed_headers
    "gateway_site.edge.middleware.ContentPolicyMiddleware": STEP,  # fixed_headers
    "sessions_kms.middleware.StoreUnavailableMiddleware": STEP,  # ahead.keys_of, failure_response
    "gateway_site.pages.session_full.SessionFullMiddleware": STEP,  # failure_response
    "oauth.sign_out.SignOutMiddleware": PAGES,
    "gateway_site.edge.middleware.SignedOutMiddleware": PAGES,
    "django.contrib.sessions.middleware.SessionMiddleware": STEP,  # caller, session_cookies
    "gateway_site.edge.languages.LocaleMiddleware": PAGES,
    "django.middleware.common.CommonMiddleware": STEP,  # the Host; it has no other settings here
    "django.middleware.csrf.CsrfViewMiddleware": STEP,  # CsrfCheck
    "oauth.sign_in.authentication.AuthenticationMiddleware": STEP,  # ActiveUsers
    "gateway_site.edge.middleware.VisitMiddleware": STEP,  # the visit
    "django.contrib.messages.middleware.MessageMiddleware": PAGES,
    "gateway_site.pages.session_limit.SessionLimitMiddleware": PAGES,  # tells of a sign-in
    "django.middleware.clickjacking.XFrameOptionsMiddleware": STEP,  # fixed_headers
    "allauth.account.middleware.AccountMiddleware": PAGES,
}


def test_every_middleware_has_a_step_of_calls_or_is_for_pages_only(settings: Settings) -> None:
    """Somebody who adds one decides which: calls would silently lack what it does."""
    assert set(settings.MIDDLEWARE) == set(MIDDLEWARE)


def test_gateway_does_not_start_with_middleware_that_may_be_meant_for_calls(
    settings: Settings,
) -> None:
    """A middleware that denies every request would deny pages only."""
    assert not check_middleware_of_calls(None)
    foreign = f"{__name__}.Foreign"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, foreign]
    assert [each.id for each in check_middleware_of_calls(None)] == ["gateway_site.E006"]
    with pytest.raises(ImproperlyConfigured, match=r"test_middleware_run\.Foreign"):
        GatewayHandler()
    settings.MIDDLEWARE_OF_PAGES = [foreign]
    assert not check_middleware_of_calls(None)
    GatewayHandler()


@pytest.mark.django_db
def test_answered_page_keeps_no_body_and_no_reference_cycle() -> None:
    """Django's templates keep requests until the collector looks, which does not count bytes."""
    seen: list[HttpRequest] = []
    body = b"a=" + b"b" * 100_000
    headers = [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-length", str(len(body)).encode()),
    ]
    scope = {"type": "http", "method": "POST", "path": "/reading", "headers": headers}

    class Noting(MiddlewareChain):
        def get_response(self, request: HttpRequest) -> HttpResponseBase:
            seen.append(request)
            return super().get_response(request)

    response = MiddlewareRun(GatewayHandler(), Noting(), scope, io.BytesIO(body)).run_in_thread()
    assert isinstance(response, HttpResponse)
    assert response.content == b"100000"
    assert not {"_body", "_post", "_files", "user", "auser", "_messages"} & vars(seen[0]).keys()
