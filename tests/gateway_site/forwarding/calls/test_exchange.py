"""The resources of a call, and how its response is sent."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.http import HttpRequest, HttpResponse

from gateway_site.edge import access_log, descriptors
from gateway_site.edge.access_log import LogEntry
from gateway_site.edge.client import Client
from gateway_site.forwarding.calls import upstream_token
from gateway_site.forwarding.calls.caller import Caller
from gateway_site.forwarding.calls.calls import make_call, slots
from gateway_site.forwarding.calls.exchange import _no_connection
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.rules.headers import Headers
from gateway_site.rules.problems import Problem
from gateway_site.transport import upstream_client as client
from gateway_site.transport.pool import Owner
from oauth import TokenSet
from sessions_kms.backend import SessionStore
from tests.gateway_site.support.declared_upstreams import read_api

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nplain"
STREAM = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: x\n\n\r\n"
TOKEN = TokenSet(
    access_token="a-token",
    token_type="Bearer",
    scope=("openid",),
    subject="1",
    client_id="gateway",
    issued_at=1,
)


@pytest.fixture(autouse=True)
def with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hold(*_: object) -> TokenSet:
        return TOKEN

    monkeypatch.setattr(upstream_token, "aget_token", hold)


@pytest.fixture
def entry() -> Iterator[LogEntry]:
    """Give the entry of the access log for the calls of a test."""
    entry = LogEntry("r1")
    token = access_log._current.set(entry)
    yield entry
    access_log._current.reset(token)


@asynccontextmanager
async def upstream_saying(response: bytes) -> AsyncIterator[str]:
    """Serve an upstream that gives one response to each request, and give its address."""

    serving: dict[asyncio.StreamWriter, asyncio.Event] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[writer] = asyncio.Event()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(response)
                if not response:
                    break
        writer.close()
        serving[writer].set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await client.close()
        server.close()
        for writer, has_ended in serving.items():
            writer.transport.abort()
            await has_ended.wait()
        await asyncio.sleep(0)  # in which the loop lets go of their sockets


class Session(SessionStore):
    """A session to which a reference can be weak."""


def call_of(url: str, person: str = "1") -> UpstreamCall:
    request = HttpRequest()
    request.META.update({"SERVER_NAME": "testserver", "SERVER_PORT": "80"})
    request.session = Session("a" * 32)
    return UpstreamCall(
        request=request,
        caller=Caller(request.session),
        owner=Owner("session", person),
        upstream=read_api(URL=url),
        method="GET",
        target=f"{url}/x",
        headers=[(b"accept", b"*/*")],
        framing=[],
    )


def no_response(_: HttpRequest) -> HttpResponse:
    raise AssertionError


class Server:
    """The ASGI server's side of a call."""

    def __init__(self) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self.came = asyncio.Event()
        self.client = Client({"headers": []}, self.receive)

    async def receive(self) -> Mapping[str, Any]:
        return await asyncio.Future()

    async def send(self, message: Mapping[str, Any]) -> None:
        self.messages.append(message)
        if message.get("body"):
            self.came.set()


@pytest.mark.slow
async def test_stream_holds_neither_request_nor_session_nor_headers() -> None:
    extra: Headers = [(b"x-extra", b"1")]
    async with upstream_saying(STREAM + EVENT) as url:
        server, call = Server(), call_of(url)
        request, session = weakref.ref(call.request), weakref.ref(call.request.session)
        task = asyncio.create_task(make_call(call, server.client, server.send, extra))
        await server.came.wait()
        gc.collect()
        assert request() is None
        assert session() is None
        assert (call.headers, extra) == ([], [])
        assert (b"x-extra", b"1") in server.messages[0]["headers"]
        assert gc.get_referrers(server.messages[0]) == [server.messages]
        task.cancel()
        await asyncio.wait([task])


async def test_request_and_session_are_gone_without_the_collector() -> None:
    """Django's middleware has a request refer to itself."""
    async with upstream_saying(PLAIN) as url:
        server, call = Server(), call_of(url)
        AuthenticationMiddleware(no_response).process_request(call.request)
        MessageMiddleware(no_response).process_request(call.request)
        request, session = weakref.ref(call.request), weakref.ref(call.request.session)
        gc.disable()
        try:
            assert await make_call(call, server.client, server.send, []) is None
            assert request() is None
            assert session() is None
        finally:
            gc.enable()


async def test_complete_response_is_sent_in_one_piece() -> None:
    async with upstream_saying(PLAIN) as url:
        server = Server()
        assert await make_call(call_of(url), server.client, server.send, []) is None
    assert server.messages[1:] == [
        {"type": "http.response.body", "body": b"plain", "more_body": False}
    ]


@pytest.mark.parametrize("response", [b"", PLAIN[:-1], STREAM + b"x\r\n", b"HTTP/1.1 101 \r\n\r\n"])
async def test_failed_and_cancelled_calls_leave_nothing_open(response: bytes) -> None:
    async with upstream_saying(response) as url:
        server = Server()
        task = asyncio.create_task(make_call(call_of(url), server.client, server.send, []))
        await asyncio.wait([task], timeout=0.05)
        task.cancel()
        await asyncio.wait([task])
        assert not len(client.pool())
    assert not len(slots)


@pytest.mark.parametrize(("response", "problem"), [(PLAIN, None), (b"", "upstream_failed")])
async def test_entry_says_that_the_upstream_may_have_received_the_call(
    entry: LogEntry, response: bytes, problem: str | None
) -> None:
    """Also one without a response; without a free connection none was sent."""
    async with upstream_saying(response) as url:
        server = Server()
        found = await make_call(call_of(url), server.client, server.send, [])
    code = found.code if isinstance(found, Problem) else None
    assert (code, entry.is_sent) == (problem, True)


async def test_call_without_a_free_connection_is_asked_to_retry(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, entry: LogEntry
) -> None:
    """Two people use half of them each; the next caller is logged."""
    monkeypatch.setattr(descriptors, "descriptor_limit", lambda: 0)
    monkeypatch.setattr(_no_connection, "_logged_at", float("-inf"))
    everything = client.limits().per_upstream
    async with upstream_saying(STREAM + EVENT) as url:
        servers = [Server() for _ in range(everything)]
        calls = [call_of(url, person=str(n % 2)) for n in range(everything)]
        tasks = [
            asyncio.create_task(make_call(call, server.client, server.send, []))
            for call, server in zip(calls, servers, strict=True)
        ]
        for server in servers:
            await server.came.wait()
        entry.is_sent = False
        for _ in range(3):
            late = call_of(url, person="late")
            late.upstream = replace(late.upstream, connect_timeout=0)
            problem = await make_call(late, Server().client, Server().send, [])
            assert isinstance(problem, Problem)
            assert (problem.status, problem.code) == (503, "busy")
            assert int(problem.headers["Retry-After"]) > 0
            assert not entry.is_sent
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert lines == ["1 calls were answered 503: no connection to the upstream was free."]
