"""The steps of calls in this process: what calls share, and what a project sees of them."""

import asyncio
import json
import re
import sys
import threading
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Never

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core import signals
from django.dispatch import Signal
from django.http import HttpRequest
from django.test import Client
from django.urls import get_script_prefix
from django.utils import translation
from pytest_django import Settings

from gateway_site.edge.client import ClientGone
from gateway_site.forwarding.asgi import GatewayHandler
from gateway_site.forwarding.calls import calls, failures
from gateway_site.forwarding.calls import user_cache as user_cache_module
from gateway_site.forwarding.calls.exchange import Exchange
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.forwarding.calls.user_cache import user_cache
from gateway_site.forwarding.request import RECEIVER_THREADS
from gateway_site.forwarding.thread_pools import THREADS, QueueTimeout
from gateway_site.rules.upstream import read_upstreams
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.threads import executor, in_thread
from tests.gateway_site.support.gateways import upstream_variables
from tests.gateway_site.support.in_process import (
    TIMEOUT,
    Response,
    a_session,
    ask,
    forward_call,
    in_a_new_loop,
    signed_in_key,
)
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock
from tests.support.signals import connect_receiver


@pytest.fixture(autouse=True)
def project(settings: Settings) -> None:
    settings.UPSTREAMS = read_upstreams(upstream_variables("API", 9))
    install(fake_stack(FakeClock()).services)
    user_cache.cache_clear()


def test_calls_that_interleave_leave_no_mark_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefix and language are what Django keeps beside the request."""
    keys = {name: a_session(name=name) for name in ("slow", "fast")}
    handler = GatewayHandler()
    read = SessionStore.aget

    async def both() -> list[Response]:
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
    handler, key = GatewayHandler(), signed_in_key(1)
    threads = handler._calls._users._threads
    run = threads._threads.submit(go_on.wait, TIMEOUT)  # the only thread

    async def both() -> Response:
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


Received = list[tuple[Signal, str]]  # with the thread of the receiver
BOTH = [signals.request_started, signals.request_finished]


@pytest.fixture
def received() -> Iterator[Received]:
    """Listen to both signals of a request; the receivers wait for `go_on`."""
    found: Received = []

    def receive(signal: Signal, **_: Any) -> None:
        assert go_on.wait(TIMEOUT)
        found.append((signal, threading.current_thread().name))

    for signal in BOTH:
        signal.connect(receive)
    go_on.set()
    yield found
    for signal in BOTH:
        signal.disconnect(receive)


go_on = threading.Event()


def test_call_sends_the_signals_of_a_request_to_a_project_that_listens(received: Received) -> None:
    """It may block, so its receivers run in a thread."""
    handler = GatewayHandler()
    assert in_a_new_loop(lambda: ask(handler, "/gateway/api/x"))[0] == 401
    assert [signal for signal, _ in received] == BOTH
    assert "MainThread" not in {thread for _, thread in received}


def test_call_sends_no_signal_if_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = GatewayHandler()
    monkeypatch.setattr(Signal, "send", None)
    assert in_a_new_loop(lambda: ask(handler, "/gateway/api/x"))[0] == 401


@pytest.mark.parametrize("error", [QueueTimeout, ClientGone, ZeroDivisionError, CancelledError])
def test_call_that_ends_early_sends_both_signals(
    received: Received, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    async def end(*_: object) -> Never:
        raise error

    handler, key = GatewayHandler(), signed_in_key(1)
    monkeypatch.setattr(handler._calls._users, "find", end)
    with suppress(CancelledError, ValueError):  # no response
        in_a_new_loop(lambda: ask(handler, "/gateway/api/x", key))
    assert [signal for signal, _ in received] == BOTH


def test_call_that_is_cancelled_while_receivers_wait_for_a_thread_sends_both_signals(
    received: Received,
) -> None:
    handler = GatewayHandler()
    go_on.clear()

    async def cancel() -> None:
        threads = executor("gateway-receivers", RECEIVER_THREADS)
        busy = [
            asyncio.create_task(in_thread(threads, go_on.wait, TIMEOUT))
            for _ in range(RECEIVER_THREADS)
        ]
        call = asyncio.create_task(ask(handler, "/gateway/api/x"))
        for _ in BOTH:  # while each of them waits
            await asyncio.sleep(0.01)
            call.cancel()
        await asyncio.wait({call})
        go_on.set()
        await asyncio.wait(busy)
        while len(received) < len(BOTH):  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0.001)

    in_a_new_loop(cancel)
    assert [signal for signal, _ in received] == BOTH


def test_receiver_that_blocks_delays_no_other_call_and_nothing_in_djangos_thread() -> None:
    handler = GatewayHandler()
    go_on.clear()

    def block(scope: Any, **_: Any) -> None:
        assert scope["path"] == "/gateway/api/x" or go_on.wait(TIMEOUT)

    async def both() -> None:
        slow = asyncio.create_task(ask(handler, "/gateway/api/slow"))
        await asyncio.sleep(0.01)
        assert (await ask(handler, "/gateway/api/x"))[0] == 401
        assert await sync_to_async(threading.active_count)()
        assert not slow.done()
        go_on.set()
        assert (await slow)[0] == 401

    with connect_receiver(signals.request_started, block):
        in_a_new_loop(both)


def test_receiver_that_fails_ends_its_call_and_keeps_no_permit(received: Received) -> None:
    handler = GatewayHandler()

    def fail(**_: Any) -> Never:
        raise ZeroDivisionError

    with connect_receiver(signals.request_started, fail), pytest.raises(ZeroDivisionError):
        in_a_new_loop(lambda: ask(handler, "/gateway/api/x"))
    assert [signal for signal, _ in received] == BOTH
    assert handler._calls._admissions._free == calls.ADMISSIONS


def user_of(request: HttpRequest) -> User:
    return User(pk=int(request.session[SESSION_KEY]))


@pytest.mark.parametrize("is_cached", [True, False])
def test_call_that_is_cancelled_at_any_moment_keeps_no_permit(
    monkeypatch: pytest.MonkeyPatch, is_cached: bool
) -> None:
    monkeypatch.setattr(user_cache_module, "_user_of_request", user_of)
    monkeypatch.setattr(calls, "make_call", forward_call)
    handler, key = GatewayHandler(), signed_in_key(1)
    admissions, threads = handler._calls._admissions, handler._calls._users._threads._semaphore

    async def cancel_after(turns: int) -> None:
        if not is_cached:
            user_cache().forget("1")
        call = asyncio.create_task(ask(handler, "/gateway/api/x", key))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        with suppress(CancelledError):
            await call
        assert (admissions._free, threads._free) == (calls.ADMISSIONS, THREADS)
        assert not calls.slots

    async def cancel_everywhere() -> int:
        for turns in range(40):
            await cancel_after(turns)
        return (await ask(handler, "/gateway/api/x", key))[0]

    assert in_a_new_loop(cancel_everywhere) == 200


@pytest.mark.parametrize("has_begun", [False, True])
def test_unexpected_error_of_an_exchange_is_reported_and_is_a_problem_if_no_response_has_begun(
    monkeypatch: pytest.MonkeyPatch, has_begun: bool
) -> None:
    async def fail(call: UpstreamCall, exchange: Exchange) -> Never:
        exchange.has_begun = has_begun
        raise ZeroDivisionError

    errors: list[Any] = []

    def note(**_: Any) -> None:
        errors.append(sys.exc_info()[0])

    monkeypatch.setattr(user_cache_module, "_user_of_request", user_of)
    monkeypatch.setattr(calls, "_exchange", fail)
    handler, key = GatewayHandler(), signed_in_key(1)
    with connect_receiver(signals.got_request_exception, note):
        if has_begun:  # The server then aborts the response.
            with pytest.raises(ZeroDivisionError):
                in_a_new_loop(lambda: ask(handler, "/gateway/api/x", key))
        else:
            status, body, headers = in_a_new_loop(lambda: ask(handler, "/gateway/api/x", key))
            assert (status, json.loads(body)["code"]) == (500, "internal_server_error")
            assert (b"X-Content-Type-Options", b"nosniff") in headers
            assert errors == [ZeroDivisionError]
    assert not calls.slots


def test_user_agent_that_django_would_reject_is_rejected_without_a_thread(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "in_thread", None)
    settings.DISALLOWED_USER_AGENTS = [re.compile("^$")]
    handler = GatewayHandler()
    assert in_a_new_loop(lambda: ask(handler, "/gateway/api/x"))[0] == 403


@pytest.mark.parametrize("saves", [True, False])
def test_unchanged_session_is_saved_if_the_project_saves_every_session(
    settings: Settings, saves: bool
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = saves
    handler, key = GatewayHandler(), a_session(name="visitor")
    status, _, headers = in_a_new_loop(lambda: ask(handler, "/gateway/api/x", key))
    cookies = [value.partition(b"=")[0] for name, value in headers if name == b"Set-Cookie"]
    assert (status, cookies) == (401, [b"gateway_sessionid"] * saves)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "", 401), ("HEAD", "", 401), ("POST", "", 405), ("GET", "api/x", 501)],
)
def test_test_client_of_django_gets_the_index_and_no_calls(
    client: Client, method: str, path: str, status: int
) -> None:
    assert client.generic(method, f"/gateway/{path}").status_code == status
