"""Which requests run through Django's middleware in the event loop, and which in threads."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.core import signals
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.urls import get_script_prefix, path
from django.utils import timezone, translation
from django.utils.asyncio import async_unsafe
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from pytest_django import Settings

from gateway_site.forwarding.handler import GatewayHandler
from gateway_site.forwarding.middleware_run import (
    PAGES_ONLY,
    CallChain,
    MiddlewareChain,
    MiddlewareRun,
    without_io,
)
from gateway_site.forwarding.upstream_call import AdmittedResponse
from sessions_kms.backend import SessionStore
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]
TIMEOUT = 30  # seconds until a test that waits forever fails
ADMITTED: list[Any] = []
MAIN = "tests.gateway_site.forwarding.test_middleware_run."


def here() -> str:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "thread"
    return "loop"


@without_io
def asking(request: HttpRequest) -> HttpResponse:
    return HttpResponse(here())


def not_marked(request: HttpRequest) -> HttpResponse:
    return HttpResponse(here())


@without_io
def saving(request: HttpRequest) -> HttpResponse:
    request.session["saved"] = request.session.get("saved", 0) + 1
    return HttpResponse(here())


@async_unsafe
def look_up() -> None:
    """Wait, with Django's guard, as its database connections do."""


@without_io
def looking_up(request: HttpRequest) -> HttpResponse:
    look_up()
    return HttpResponse(here())


@without_io
def admitted(request: HttpRequest) -> HttpResponse:
    call: Any = SimpleNamespace(
        where=here(), upstream=SimpleNamespace(name="api"), release=lambda: None
    )
    response = AdmittedResponse(call)
    ADMITTED.append(response)
    return response


@without_io
def admitted_in_a_thread(request: HttpRequest) -> HttpResponse:
    look_up()
    return admitted(request)


async def forwarded(call: Any, receive: Any, send: Any, extra: Any) -> None:
    """Answer in place of the proxy."""
    await send({"type": "http.response.start", "status": 200, "headers": extra})
    await send({"type": "http.response.body", "body": call.where.encode()})


@without_io
def leaving_a_mark(request: HttpRequest) -> HttpResponse:
    found = [get_script_prefix(), translation.get_language(), timezone.get_current_timezone_name()]
    translation.activate(request.GET["language"])
    timezone.activate(request.GET["zone"])
    return JsonResponse([*found, request.session.get("name")], safe=False)


@csrf_exempt
def reading(request: HttpRequest) -> HttpResponse:
    assert len(request.body) > len(request.POST["a"])
    return HttpResponse(len(request.POST["a"]))


urlpatterns = [
    path("reading", reading),
    path("gateway/asking", asking),
    path("gateway/not-marked", not_marked),
    path("gateway/saving", saving),
    path("gateway/looking-up", looking_up),
    path("gateway/leaving-a-mark", leaving_a_mark),
    path("gateway/admitted", admitted),
    path("gateway/admitted-in-a-thread", admitted_in_a_thread),
]


class Foreign(CommonMiddleware):
    """A middleware that nobody has looked at."""


@pytest.fixture(autouse=True)
def project(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.gateway_site.forwarding.test_middleware_run"
    install(fake_stack(FakeClock()).services)


@pytest.fixture
def sent() -> Iterator[Counter[str]]:
    """Count signals of requests."""
    counted: Counter[str] = Counter()
    kinds = {"started": "request_started", "finished": "request_finished"}
    kinds["failed"] = "got_request_exception"

    def counting(name: str) -> Callable[..., None]:
        return lambda **_: counted.update([name])

    receivers = {getattr(signals, kind): counting(name) for name, kind in kinds.items()}
    for signal, receiver in receivers.items():
        signal.connect(receiver)
    yield counted
    for signal, receiver in receivers.items():
        signal.disconnect(receiver)


def a_session(**content: Any) -> str:
    session = SessionStore()
    session.update(content)
    session.save()
    return str(session.session_key)


def in_a_new_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run in a thread that has no connection to the database, as a server's has none."""

    async def bounded() -> Any:
        async with asyncio.timeout(TIMEOUT):
            return await work()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(bounded())).result()


async def ask(
    handler: GatewayHandler, address: str, key: str = "", root: str = "", *, method: str = "GET"
) -> Answer:
    """Return status, content and headers of a raw ASGI call."""
    where, _, query = address.partition("?")
    told: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": method,
        "path": root + where,
        "raw_path": (root + where).encode(),
        "query_string": query.encode(),
        "root_path": root,
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), (b"cookie", f"gateway_sessionid={key}".encode())],
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


def answer_with_headers(address: str, key: str = "") -> Answer:
    handler = GatewayHandler()
    return in_a_new_loop(lambda: ask(handler, address, key))  # type: ignore[no-any-return]


def answer(address: str, key: str = "") -> tuple[int, bytes]:
    return answer_with_headers(address, key)[:2]


def test_every_middleware_of_the_settings_is_known() -> None:
    assert CallChain().is_non_blocking


def test_marked_view_is_called_in_the_loop_and_no_other() -> None:
    assert answer("/gateway/asking") == (200, b"loop")
    assert answer("/gateway/not-marked") == (200, b"thread")


@pytest.mark.parametrize("index", [0, 5, -1])
def test_one_unknown_middleware_sends_all_calls_through_threads(
    settings: Settings, index: int
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE]
    settings.MIDDLEWARE.insert(index, MAIN + "Foreign")
    assert answer("/gateway/asking") == (200, b"thread")


def middleware_of(chain: MiddlewareChain) -> list[str]:
    """Return the names of a chain's middleware, the outermost first."""
    found: list[str] = []
    layer: Any = inspect.unwrap(vars(chain)["_middleware_chain"])
    while not inspect.ismethod(layer):
        kind = layer if inspect.isfunction(layer) else type(layer)
        found.append(f"{kind.__module__}.{kind.__qualname__.partition('.')[0]}")
        inner = inspect.getclosurevars(layer).nonlocals if kind is layer else vars(layer)
        layer = inspect.unwrap(inner["get_response"])
    return found


def defined(names: Iterable[str]) -> list[str]:
    """Return the names of classes and functions where they are defined."""
    kinds: Iterator[Any] = map(import_string, names)
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]


def test_call_passes_all_middleware_but_that_of_pages(settings: Settings) -> None:
    assert middleware_of(MiddlewareChain()) == defined(settings.MIDDLEWARE)
    assert set(settings.MIDDLEWARE) > PAGES_ONLY
    expected = [each for each in settings.MIDDLEWARE if each not in PAGES_ONLY]
    assert middleware_of(CallChain()) == defined(expected)


def test_call_passes_all_middleware_where_some_is_unknown(settings: Settings) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, MAIN + "Foreign"]
    assert middleware_of(CallChain()) == defined(settings.MIDDLEWARE)


def test_calls_keep_the_views_and_errors_of_their_middleware() -> None:
    """Those of CSRF, and of an unreachable session store."""
    whole, calls = vars(MiddlewareChain()), vars(CallChain())
    pages = {path.rpartition(".")[2] for path in PAGES_ONLY}
    for name in ("_view_middleware", "_exception_middleware", "_template_response_middleware"):
        all_of, of_calls = (
            [each.__qualname__.partition(".")[0] for each in chain[name]]
            for chain in (whole, calls)
        )
        assert of_calls == [each for each in all_of if each not in pages]
    assert calls["_view_middleware"]
    assert calls["_exception_middleware"]


def test_blocking_view_runs_in_a_thread_and_is_logged_once(
    sent: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert answer("/gateway/looking-up") == (200, b"thread")
    assert sent == {"started": 1, "finished": 1}
    assert not [each for each in caplog.records if each.name.startswith("django")]


def test_session_that_must_be_saved_is_saved_once_in_a_thread(sent: Counter[str]) -> None:
    key = a_session(saved=1)
    assert answer("/gateway/saving", key) == (200, b"thread")
    assert sent == {"started": 1, "finished": 1}
    assert SessionStore(key)["saved"] == 2


def test_calls_that_interleave_leave_no_mark_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefix, language and time zone are what Django keeps beside the request."""
    keys = {name: a_session(name=name) for name in ("slow", "fast")}
    handler = GatewayHandler()
    read = SessionStore.aprefetch

    async def both() -> list[Answer]:
        waits, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(self: SessionStore) -> Any:
            if self.session_key == keys["slow"]:
                waits.set()
                await go_on.wait()
            return await read(self)

        monkeypatch.setattr(SessionStore, "aprefetch", slowly)
        address = "/gateway/leaving-a-mark?language=de&zone=Asia/Tokyo"
        slow = asyncio.create_task(ask(handler, address, keys["slow"], "/slow"))
        await waits.wait()
        fast = [await ask(handler, address, keys["fast"], "/fast") for _ in range(2)]
        go_on.set()
        found = [*fast, await slow]
        assert (get_script_prefix(), translation.get_language()) == ("/", "en")
        return found

    found = in_a_new_loop(both)
    expected = [["/fast/", "en", "UTC", "fast"]] * 2 + [["/slow/", "en", "UTC", "slow"]]
    assert [json.loads(body) for _, body, _ in found] == expected


def test_call_waiting_for_a_thread_delays_no_call_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway_site.forwarding.handler.ADMISSIONS", 1)
    monkeypatch.setattr("gateway_site.forwarding.handler.THREADS", 1)
    go_on = threading.Event()
    handler = GatewayHandler()
    run = handler._calls._threads.submit(go_on.wait, TIMEOUT)  # the only thread

    async def both() -> Answer:
        waiting = asyncio.create_task(ask(handler, "/gateway/not-marked"))
        try:
            while handler._calls._semaphore._free:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0)
            async with asyncio.timeout(TIMEOUT / 2):
                return await ask(handler, "/gateway/asking")
        finally:
            go_on.set()
            await waiting

    assert in_a_new_loop(both)[:2] == (200, b"loop")
    assert run.result()


def told_of(monkeypatch: pytest.MonkeyPatch, address: str) -> list[Signal]:
    """Return which of a request's signals Django sends, once the server runs."""
    found: list[Signal] = []
    send = Signal.send

    def noting(self: Signal, *args: Any, **more: Any) -> Any:
        found.append(self)
        return send(self, *args, **more)

    monkeypatch.setattr(Signal, "send", noting)
    answer(address)
    about = (signals.request_started, signals.request_finished)
    return [each for each in found if each in about]


def test_request_signals_are_not_sent_to_django_in_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway_site.forwarding.handler.forward", forwarded)
    assert told_of(monkeypatch, "/gateway/admitted") == []


def test_request_signals_are_sent_to_django_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, also of a call that was tried in the loop before."""
    monkeypatch.setattr("gateway_site.forwarding.handler.forward", forwarded)
    expected = [signals.request_started, signals.request_finished]
    assert told_of(monkeypatch, "/gateway/admitted-in-a-thread") == expected


def test_request_signals_are_sent_to_other_receivers(
    monkeypatch: pytest.MonkeyPatch, sent: Counter[str]
) -> None:
    monkeypatch.setattr("gateway_site.forwarding.handler.forward", forwarded)
    assert answer("/gateway/admitted") == (200, b"loop")
    assert sent == {"started": 1, "finished": 1}


@pytest.mark.parametrize("is_in_loop", [True, False])
def test_admitted_response_holds_no_request(
    monkeypatch: pytest.MonkeyPatch, is_in_loop: bool
) -> None:
    """It is there for as long as an answer streams."""
    held: list[object] = []

    async def looking(call: Any, receive: Any, send: Any, extra: Any) -> None:
        held.extend(ADMITTED[-1]._resource_closers)
        assert ADMITTED[-1].closed
        await forwarded(call, receive, send, extra)

    monkeypatch.setattr("gateway_site.forwarding.handler.forward", looking)
    answer("/gateway/admitted" if is_in_loop else "/gateway/admitted-in-a-thread")
    assert not held


def test_all_of_an_admitted_response_is_closed_whatever_fails_of_it() -> None:
    closed: list[str] = []

    def failing() -> None:
        closed.append("failing")
        raise LookupError

    response = AdmittedResponse(Mock())
    vars(response)["_resource_closers"] += [failing, lambda: closed.append("other")]
    response.close_silently()
    assert closed == ["failing", "other"]
    assert response.closed


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
