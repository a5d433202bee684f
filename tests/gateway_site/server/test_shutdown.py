"""The stop of a server: first it drains, then its streams end, then it waits for the rest."""

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django import Settings

from gateway_site.edge.shutdown import RESULT_TIME, shutdown_of
from gateway_site.health.readiness import draining
from gateway_site.server import lifespan, protocol
from gateway_site.server.protocol import LAST_HEAD_TIME
from tests.gateway_site.server.served import (
    advance,
    on_moved_clock,
    read_all,
    read_response,
    serving,
)

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def drained() -> Iterator[None]:
    """Drain, for as long as a test lasts."""
    draining.set()
    yield
    draining.clear()


@pytest.fixture
def asked(settings: Settings) -> Iterator[list[int]]:
    """Return the signals that the server's own handler of SIGTERM got."""
    settings.DRAIN_SECONDS = 5
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    yield got
    signal.signal(signal.SIGTERM, before)
    draining.clear()


async def start() -> asyncio.Future[None]:
    """Start as a server does, in a task that would wait for its end."""
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "lifespan.startup"})
    started = asyncio.Event()

    async def send(_: Any) -> None:
        started.set()

    async def fail(*_: Any) -> None:
        raise AssertionError

    scope = {"type": "lifespan", "state": {}}
    task = asyncio.ensure_future(lifespan.asgi(fail)(scope, messages.get, send))
    await started.wait()
    return task


def test_sigterm_is_passed_on_when_the_time_to_drain_is_over(asked: list[int]) -> None:
    @on_moved_clock
    async def run() -> None:
        task = await start()
        signal.raise_signal(signal.SIGTERM)
        assert draining.is_set()
        await advance(4.9)
        assert asked == []
        await advance(0.2)
        assert asked == [signal.SIGTERM]
        task.cancel()

    run()


@pytest.mark.parametrize("is_worker", [False, True], ids=["alone", "worker"])
def test_second_sigterm_skips_the_rest_but_not_of_a_worker_whose_parent_sends_it(
    asked: list[int], is_worker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd signals each process of a service, and the parent its workers half a second later."""
    parent = SimpleNamespace(is_alive=lambda: True) if is_worker else None
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)

    @on_moved_clock
    async def run() -> None:
        task = await start()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert asked == ([] if is_worker else [signal.SIGTERM])
        task.cancel()

    run()


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.usefixtures("drained")
def test_draining_server_answers_each_request_and_closes_its_connection() -> None:
    with serving(application) as served:
        for request in (GET, POST):
            found = read_all(served.connect(request))
            assert found.endswith(b"\r\n\r\nok")
            assert found.count(b"connection: close\r\n") == 1


def test_connection_stays_open_before_that_and_an_idle_one_while_draining() -> None:
    with serving(application) as served:
        client = served.connect(GET)
        assert b"connection: close" not in read_response(client)
        draining.set()
        try:
            client.sendall(GET)
            assert read_all(client).endswith(b"\r\n\r\nok")
        finally:
            draining.clear()


def test_stopping_server_answers_a_request_that_is_on_its_way_and_waits_for_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is closed only afterwards: the client could not know whether to repeat it."""
    settings.DRAIN_SECONDS = 0
    monkeypatch.setattr(protocol, "HEAD_TIME", 1000.0)

    with serving(application, timeout_graceful_shutdown=60) as served:
        used, new, half = (served.connect(sent) for sent in (GET, b"", GET[:9]))
        silent = served.connect()
        assert read_response(used).endswith(b"ok")
        served.settle()
        served.stop()
        assert used.recv(1) == b"", "an idle connection is closed at once"
        for client, sent in ((new, GET), (half, GET[9:])):
            client.sendall(sent)
            found = read_all(client)
            assert found.endswith(b"\r\n\r\nok")
            assert b"connection: close\r\n" in found
        served.move(LAST_HEAD_TIME + 1)
        assert silent.recv(1) == b""


class Streams:
    """An application whose every response ends when the server's stop says so."""

    def __init__(self) -> None:
        self.open = threading.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await lifespan.asgi(self._stream)(scope, receive, send)

    async def _stream(self, scope: Any, _receive: Any, send: Any) -> None:
        ended = asyncio.Event()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        is_post = scope["method"] == "POST"
        with shutdown_of(scope["state"]).ending(ended.set, has_result=is_post):
            self.open.release()
            await ended.wait()
        await send({"type": "http.response.body", "body": scope["method"].encode()})


def test_stopping_server_ends_streams_at_once_and_results_after_their_time(
    settings: Settings,
) -> None:
    settings.DRAIN_SECONDS = 0
    streams = Streams()
    with serving(streams, timeout_graceful_shutdown=60) as served:
        stream, call = served.connect(GET), served.connect(POST)
        for _ in range(2):
            assert streams.open.acquire(timeout=20)
        served.stop()
        assert b"\r\nGET\r\n" in read_all(stream)
        served.advance(RESULT_TIME - 1)
        call.setblocking(False)
        assert b"POST" not in call.recv(65536)
        call.settimeout(20)
        served.move(2)
        assert b"\r\nPOST\r\n" in read_all(call)


def test_stop_of_a_server_without_a_lifespan_never_begins() -> None:
    with shutdown_of({}).ending(pytest.fail, has_result=False):
        pass
