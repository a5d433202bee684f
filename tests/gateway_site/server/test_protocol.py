"""One client's connection: independent requests, and cleanup after a disconnect."""

import logging
import threading
from contextvars import ContextVar
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway_site.server.protocol import READ_SIZE, BoundedProtocol
from tests.gateway_site.server.served import Application, read_all, serving

CLOSE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
BODY = b"\r\nContent-Length: 5\r\n\r\n"  # announced, and not sent
TIMEOUT = 20  # seconds
LARGE = 200_000  # bytes of a body, from which on the server reads no more until some are taken
caller: ContextVar[str] = ContextVar("caller", default="nobody")


async def note_scope(scope: Any, receive: Any, send: Any) -> None:
    """Tell who called as this request's context has it, and note somebody there."""
    before = caller.get()
    caller.set("somebody")
    while (await receive()).get("more_body"):
        pass
    body = before.encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def test_disconnected_client_is_no_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Anybody can do so, as often as they like."""
    reached, gone, answered = threading.Event(), threading.Event(), threading.Event()

    async def respond(_scope: Any, _receive: Any, send: Any) -> None:
        reached.set()
        gone.wait(TIMEOUT)  # The event loop gets no event in the meantime.
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})
        answered.set()

    with serving(respond) as served:
        client = served.connect(CLOSE.replace(b"GET", b"POST").replace(b"\r\n\r\n", BODY))
        assert reached.wait(TIMEOUT)
        client.close()
        gone.set()
        assert answered.wait(TIMEOUT)
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


def test_rejected_body_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    """Reading it would send the client `100 Continue` after the response."""
    expecting = b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\nno size\r\n"
    with serving(note_scope) as served:
        sent = CLOSE.replace(b"GET", b"POST").replace(b"Connection: close\r\n\r\n", expecting)
        got = read_all(served.connect(sent))
    assert got.startswith(b"HTTP/1.1 400 ")
    assert got.count(b"HTTP/1.1 ") == 1
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("size", [0, LARGE], ids=["sent ahead", "after a large body"])
def test_request_has_nothing_of_the_context_of_the_one_before(size: int) -> None:
    first = CLOSE.replace(b"GET", b"POST").replace(
        b"Connection: close", b"Content-Length: %d" % size
    )
    with serving(note_scope) as served:
        client = served.connect(first + b"x" * size + CLOSE)
        assert read_all(client).count(b"nobody") == 2


def test_chunks_of_one_byte_are_put_together_once_for_each_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """uvicorn copies all that it has for each piece that it is given."""
    reads: list[int] = []
    pieces: list[int] = []
    read, take = BoundedProtocol.data_received, HttpToolsProtocol.on_body

    def counted_read(self: BoundedProtocol, data: bytes) -> None:
        reads.append(len(data))
        read(self, data)

    def counted_piece(self: HttpToolsProtocol, body: bytes) -> None:
        pieces.append(len(body))
        take(self, body)

    monkeypatch.setattr(BoundedProtocol, "data_received", counted_read)
    monkeypatch.setattr(HttpToolsProtocol, "on_body", counted_piece)
    content = bytes(range(256)) * 400
    head = b"POST /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % each for each in content)
    sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    with serving(Application()) as served:
        assert read_all(served.connect(sent)).endswith(b"\r\n\r\n" + content)
    assert sum(pieces) == len(content)
    assert len(pieces) <= len(reads)
    assert max(reads) <= READ_SIZE


def test_bodies_of_requests_sent_ahead_are_not_mixed() -> None:
    """Several end in what is read at one time."""
    bodies = [b"one", b"", b"three" * 1000, b"4"]
    head = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    sent = b"".join(head % len(body) + body for body in bodies)
    with serving(Application()) as served:
        got = read_all(served.connect(sent + CLOSE.replace(b" / ", b" /last ")))
    found = [each.partition(b"\r\n\r\n")[2] for each in got.split(b"HTTP/1.1 ")[1:]]
    assert found == [*bodies, b"response to /last"]
