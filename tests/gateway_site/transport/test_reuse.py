"""A connection is reused only after an unambiguous exchange.

The upstreams are sockets of this event loop that say what a test tells them to, over TLS too.
"""

import asyncio
import gc
import os
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from unittest.mock import Mock

import pytest

from gateway_site.rules.upstream import Upstream
from gateway_site.transport import upstream_client as client
from gateway_site.transport.connection import HELD, Http1Connection, Response
from gateway_site.transport.failures import RemoteProtocolError, UpstreamFailed
from gateway_site.transport.messages import build_request as written
from gateway_site.transport.pool import Owner
from tests.gateway_site.support.declared_upstreams import read_api
from tests.support import certificates

ADA, GRACE = Owner("session-a", "1"), Owner("session-g", "2")
OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nplain"
EXTRA = OK + b"Content-Length: 5\r\n\r\nextra"
HANG_UP = b"(hangs up)"
TIMEOUT = 20.0  # seconds
NOWHERE = read_api(URL="http://127.0.0.1:9")
variable: ContextVar[object] = ContextVar("variable")
READ_MAX = 256 * 1024  # bytes that asyncio reads at once
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"


@dataclass
class Server:
    """Answers each request with what is next in `responses`, then with PLAIN."""

    scheme: str
    responses: list[bytes] = field(default_factory=list)
    responses_first: bool = False  # and reads the body, if there is one, then
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    asked: int = 0
    answered: int = 0
    gone: int = 0
    upstream: Upstream = field(init=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if not self.responses_first:
                    await _read_body(reader, head)
                self.asked += 1
                response = self.responses.pop(0) if self.responses else PLAIN
                writer.write(response.removesuffix(HANG_UP))
                await writer.drain()
                if response.endswith(HANG_UP):
                    break
                self.answered += 1
                if self.responses_first:
                    await _read_body(reader, head)
        self.gone += 1
        writer.close()

    @property
    def count(self) -> int:
        """How many connections were made."""
        return len(self.writers)


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> None:
    if b"transfer-encoding: chunked" in head:
        await reader.readuntil(b"0\r\n\r\n")
    elif b"content-length: " in head:
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.write_certificate(tmp_path_factory.mktemp("tls") / "both.pem")


@pytest.fixture(params=["http", "https"])
async def server(
    request: pytest.FixtureRequest, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    """Start an upstream; all is closed after."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client._tls.cache_clear()
    tls = None
    if request.param == "https":
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    found = Server(request.param)
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    found.upstream = read_api(URL=f"{found.scheme}://127.0.0.1:{port}")
    yield found
    await client.close()
    listening.close()
    for writer in found.writers:
        with suppress(AttributeError):  # of Python 3.11.2, if it is closed already
            writer.transport.abort()
    await until(lambda: found.gone == found.count)
    client._tls.cache_clear()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - no event tells what a socket's other end saw
            await asyncio.sleep(0.001)


async def begin_call(
    server: Server,
    method: str = "GET",
    body: AsyncIterator[bytes] | None = None,
    *framing: tuple[bytes, bytes],
    owner: Owner = ADA,
) -> Response:
    target = server.upstream.origin + "/x"
    request = written(server.upstream, method, target, list(framing), body or pieces_of(b""))
    return await client.send(owner, server.upstream, request)


async def make_call(server: Server, method: str = "GET", body: bytes = b"") -> bytes:
    """Make a call, take all of its response, and return that."""
    framing = [(b"content-length", b"%d" % len(body))] if body or method == "POST" else []
    response = await begin_call(server, method, pieces_of(body), *framing)
    try:
        return await all_of(response)
    finally:
        response.close()


async def all_of(response: Response) -> bytes:
    body = b""
    while not response.has_ended:
        body += await response.read_piece(TIMEOUT)
    return body


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize(
    ("method", "body", "response"),
    [
        ("GET", b"", PLAIN),
        ("GET", b"", CHUNKED),
        ("GET", b"", CHUNKED[:-2] + b"Trailer: x\r\n\r\n"),
        ("GET", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + PLAIN),
        ("GET", b"", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("DELETE", b"", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        ("GET", b"", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", b"", OK + b"Content-Length: 5\r\n\r\n"),
        ("HEAD", b"", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
        ("POST", b"", PLAIN),
        ("POST", b"some body", PLAIN),
        ("PUT", b"some body", PLAIN),
        ("PATCH", b"some body", PLAIN),
        ("POST", b"x" * 5_000_000, PLAIN),
        ("GET", b"", OK + b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000),
    ],
    ids=lambda value: repr(value[:60]),
)
async def test_clean_exchange_keeps_the_connection(
    server: Server, method: str, body: bytes, response: bytes
) -> None:
    server.responses = [response] * 2
    for _ in range(2):
        await make_call(server, method, body)
    assert await make_call(server) == b"plain"
    assert server.count == 1


@pytest.mark.parametrize(
    ("method", "body", "response"),
    [
        ("GET", b"a body", PLAIN),
        ("HEAD", b"a body", OK + b"Content-Length: 5\r\n\r\n"),
        ("DELETE", b"a body", PLAIN),
        ("OPTIONS", b"a body", PLAIN),
        ("HEAD", b"", PLAIN),
        ("HEAD", b"", EXTRA + EXTRA),
        ("GET", b"", b"HTTP/1.1 204 No Content\r\n\r\n" + EXTRA),
        ("GET", b"", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"", b"HTTP/1.1 304 Not Modified\r\n\r\n" + EXTRA),
        ("GET", b"", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 45\r\n\r\n" + PLAIN),
        ("GET", b"", b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + PLAIN),
        ("GET", b"", PLAIN + b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("GET", b"", PLAIN + EXTRA),
        ("GET", b"", PLAIN + b"x"),
        ("GET", b"", PLAIN + b"\r\n"),
        ("GET", b"", OK + b"Content-Length: 500000\r\n\r\n" + b"x" * 500_000 + EXTRA),
        ("GET", b"", CHUNKED + EXTRA),
        ("GET", b"", CHUNKED + b"\r\n"),
        ("GET", b"", PLAIN.replace(b"OK", b"OK\r\nConnection: close")),
        ("GET", b"", PLAIN.replace(b"1.1", b"1.0")),
    ],
    ids=lambda value: repr(value[:70]),
)
async def test_unclear_exchange_ends_the_connection(
    server: Server, method: str, body: bytes, response: bytes
) -> None:
    server.responses = [response]
    await make_call(server, method, body)
    assert await make_call(server) == b"plain"
    assert server.count == 2
    await until(lambda: server.gone == 1)


async def test_connection_is_another_persons_never(server: Server) -> None:
    for owner in (ADA, GRACE):
        response = await begin_call(server, owner=owner)
        await all_of(response)
        response.close()
    assert server.count == 2
    assert server.gone == 0  # Both are kept, each for its own.


async def test_idle_connection_keeps_nothing_of_the_call_that_opened_it(server: Server) -> None:
    async def call() -> weakref.ref[Mock]:
        held = Mock()
        variable.set(held)
        assert await make_call(server) == b"plain"
        return weakref.ref(held)

    found = await asyncio.create_task(call())
    await asyncio.sleep(0)  # The loop has the finished task until then.
    gc.collect()
    assert found() is None
    assert await make_call(server) == b"plain"
    assert server.count == 1


@pytest.mark.parametrize(
    "framing", [(b"content-length", b"6"), (b"transfer-encoding", b"chunked")], ids=repr
)
async def test_response_before_the_request_is_out_ends_the_connection(
    server: Server, framing: tuple[bytes, bytes]
) -> None:
    server.responses_first = True

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        await until(lambda: server.answered == 1)
        for _ in range(10):  # in which the event loop reads it
            await asyncio.sleep(0)
        yield b"def"

    response = await begin_call(server, "POST", body(), framing)
    assert await all_of(response) == b"plain"
    response.close()
    assert await make_call(server) == b"plain"
    assert server.count == 2


@pytest.mark.parametrize("server", ["http"], indirect=True)  # TLS encrypts a piece at once.
async def test_response_while_the_last_piece_is_written_ends_the_connection(server: Server) -> None:
    server.responses_first = True
    assert await make_call(server, "POST", b"x" * 5_000_000) == b"plain"
    assert await make_call(server) == b"plain"
    assert server.count == 2


@pytest.mark.parametrize("turns", [0, 10], ids=["the loop has not read", "the loop has read"])
@pytest.mark.parametrize("late", [EXTRA, b"\r\n", b"x"], ids=repr)
async def test_data_on_an_idle_connection_closes_it(
    server: Server, late: bytes, turns: int
) -> None:
    assert await make_call(server) == b"plain"
    server.writers[0].write(late)
    await server.writers[0].drain()
    for _ in range(turns):
        await asyncio.sleep(0)
    assert await make_call(server) == b"plain"
    assert server.count == 2


async def test_connection_closed_by_the_upstream_meanwhile_fails_no_call(server: Server) -> None:
    assert await make_call(server, "POST") == b"plain"
    server.writers[0].close()
    await until(lambda: server.gone == 1)
    assert await make_call(server, "POST") == b"plain"
    assert server.count == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_what_changes_nothing_is_asked_again_where_an_idle_connection_was_closed(
    server: Server, method: str
) -> None:
    """At the moment of its use. The other idle ones are not tried: it may have closed them all."""
    responses = [await begin_call(server), await begin_call(server)]
    for response in responses:
        await all_of(response)
        response.close()
    server.responses = [HANG_UP]
    assert await make_call(server, method) == (b"" if method == "HEAD" else b"plain")
    assert server.count == 3


@pytest.mark.parametrize(
    ("method", "body"),
    [("POST", b""), ("POST", b"x"), ("PUT", b"x"), ("DELETE", b""), ("GET", b"x")],
)
async def test_what_may_change_something_is_asked_once(
    server: Server, method: str, body: bytes
) -> None:
    await make_call(server)
    server.responses = [HANG_UP]
    with pytest.raises(UpstreamFailed):
        await make_call(server, method, body)
    assert (server.count, server.asked) == (1, 2)


@pytest.mark.parametrize("beginning", [b"H", OK, b"nonsense"])
async def test_what_had_a_response_in_part_is_asked_once(server: Server, beginning: bytes) -> None:
    await make_call(server)
    server.responses = [beginning + HANG_UP]
    with pytest.raises(UpstreamFailed):
        await make_call(server)
    assert (server.count, server.asked) == (1, 2)


async def test_new_connection_without_a_response_is_the_last_try(server: Server) -> None:
    server.responses = [HANG_UP]
    with pytest.raises(UpstreamFailed):
        await make_call(server)
    assert server.asked == 1
    await make_call(server)
    server.responses = [HANG_UP, HANG_UP]
    with pytest.raises(UpstreamFailed):
        await make_call(server)
    assert (server.count, server.asked) == (3, 4)


async def test_response_that_has_not_come_to_its_end_ends_the_connection(server: Server) -> None:
    server.responses = [PLAIN[:-1]]
    response = await begin_call(server)
    response.close()
    assert await make_call(server) == b"plain"
    assert server.count == 2


async def test_unread_response_reaches_no_other_caller(server: Server) -> None:
    """As the refused call's, before the token is refreshed."""
    server.responses = [EXTRA]
    response = await begin_call(server)
    await until(lambda: response._reader.has_ended)
    response.close()
    assert await make_call(server) == b"plain"
    assert server.count == 1


async def test_response_closed_twice_returns_its_connection_once(server: Server) -> None:
    first = await begin_call(server)
    await all_of(first)
    first.close()
    second = await begin_call(server)
    first.close()
    assert await make_call(server) == b"plain"
    assert server.count == 2
    assert await all_of(second) == b"plain"
    second.close()


@pytest.mark.parametrize("beginning", [b"", OK, PLAIN[:-2]], ids=repr)
async def test_cancelled_call_ends_the_connection(server: Server, beginning: bytes) -> None:
    """Before the response, in its head and in its body."""
    server.responses = [beginning]
    task = asyncio.create_task(make_call(server))
    await until(lambda: server.count == 1 and not server.responses)
    task.cancel()
    await asyncio.wait([task])
    assert await make_call(server) == b"plain"
    assert server.count == 2
    await until(lambda: server.gone == 1)


async def test_call_cancelled_as_its_connection_opens_leaves_none_open(server: Server) -> None:
    for turns in count():
        task = asyncio.create_task(make_call(server))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if server.answered:
            break
        await until(lambda: server.gone == server.count)
    assert server.gone


@pytest.mark.parametrize(
    "broken", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab"], ids=repr
)
async def test_broken_response_ends_the_connection(server: Server, broken: bytes) -> None:
    server.responses = [broken]
    with pytest.raises(RemoteProtocolError):
        await make_call(server)
    assert await make_call(server) == b"plain"
    assert server.count == 2


async def test_response_in_tiny_pieces_does_not_block_the_loop(server: Server) -> None:
    """Each read is one piece, after which other tasks run."""
    chunks = b"1\r\na\r\n" * 200_000
    server.responses = [OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"]
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(another())
    response = await begin_call(server)
    pieces = 0
    while not response.has_ended:
        await response.read_piece(TIMEOUT)
        pieces += 1
    response.close()
    other.cancel()
    assert len(chunks) / READ_MAX < pieces < turns


async def test_response_without_a_length_ends_with_the_connection(server: Server) -> None:
    """Over TLS, cutting the connection must not end a response early."""
    server.responses = [OK + b"\r\nall of it"]
    response = await begin_call(server)
    await until(lambda: server.answered == 1)
    server.writers[0].close()
    assert await all_of(response) == b"all of it"
    response.close()

    server.responses = [OK + b"\r\nonly a par"]
    response = await begin_call(server)
    assert await response.read_piece(TIMEOUT)
    plain = server.writers[1].get_extra_info("socket")
    with socket.socket(fileno=os.dup(plain.fileno())) as cut:
        cut.shutdown(socket.SHUT_WR)
    if server.scheme == "https":
        with pytest.raises(UpstreamFailed):
            await all_of(response)
    else:
        assert await all_of(response) == b""
    response.close()
    assert await make_call(server) == b"plain"
    assert server.count == 3


async def test_body_that_fails_after_an_early_response_ends_the_connection(server: Server) -> None:
    server.responses_first = True

    def has_responded() -> bool:
        [lease] = client.pool()._in_use
        reader = lease.connection._reader
        return reader is not None and reader.has_ended

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        await until(has_responded)
        raise LookupError

    with pytest.raises(LookupError):
        await begin_call(server, "POST", body(), (b"content-length", b"6"))
    assert not client.pool()


async def test_connection_with_an_unread_response_is_not_reused() -> None:
    """A response was there as a whole, too large to read on, and nobody took it."""
    transport, (ours, theirs) = Mock(), socket.socketpair()
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 0
    transport.get_extra_info.return_value = ours
    connection = Http1Connection()
    connection.connection_made(transport)
    request = written(NOWHERE, "GET", NOWHERE.origin + "/", [], pieces_of())
    for size, is_clean in ((HELD - 1, True), (HELD, False)):
        asking = asyncio.create_task(connection.send(request, seconds=TIMEOUT, ended=lambda: None))
        await asyncio.sleep(0)
        connection.data_received(OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        await asking
        assert connection.is_clean is is_clean
    transport.pause_reading.assert_called_once_with()
    ours.close()
    theirs.close()


async def test_body_that_fails_ends_the_connection(server: Server) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        raise LookupError

    with pytest.raises(LookupError):
        await begin_call(server, "POST", body(), (b"content-length", b"6"))
    assert not client.pool()
    await until(lambda: server.gone == 1)


@pytest.mark.parametrize("is_there", [True, False])
async def test_head_is_sent_with_a_body_that_is_there_and_waits_for_no_other(
    is_there: bool,
) -> None:
    coming = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        if not is_there:
            await coming.wait()
        yield b"body"

    connection, transport, (ours, theirs) = Http1Connection(), Mock(), socket.socketpair()
    transport.is_closing.return_value = False
    transport.get_extra_info.return_value = ours
    connection.connection_made(transport)
    length = [(b"content-length", b"4")]
    request = written(NOWHERE, "POST", f"{NOWHERE.origin}/x", length, content())
    sending = asyncio.ensure_future(connection.send(request, seconds=TIMEOUT, ended=Mock()))
    await until(lambda: bool(transport.write.called))
    sent = [request.head + b"body"] if is_there else [request.head]
    assert [each.args[0] for each in transport.write.call_args_list] == sent
    coming.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert b"".join(each.args[0] for each in transport.write.call_args_list) == (
        request.head + b"body"
    )
    sending.cancel()
    await asyncio.wait([sending])
    ours.close()
    theirs.close()
