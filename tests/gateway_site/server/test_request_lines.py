"""What comes before a request, and the protocol that it names, wherever in a stream it begins."""

from __future__ import annotations

import random
from itertools import pairwise

import httptools
import pytest

from gateway_site.server.request_syntax import Refusal, RequestLines, _Chunks
from tests.gateway_site.server.served import Application, Served, answer, one_answer

BEFORE = {
    "nothing": b"",
    "a request": b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n",
    "a body": b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "a body of line ends": b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
    "no body": b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "chunks": b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"00A\r\n0123456789\r\n5;a=b\r\n\r\n\r\n0\r\n2\r\n\r\n\r\n0\r\n\r\n",
    "trailers": b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1\r\n\n\r\n0;x\r\nX: y\r\nZ: GET / HTTP/1.1\r\n\r\n",
    "an empty line": b"\r\nGET /first HTTP/1.1\r\nHost: a\r\n\r\n",
}
BAD = {
    "RTSP": b"GET /bad RTSP/1.0\r\nHost: a\r\n\r\n",
    "RTSP by its method": b"PLAY /bad RTSP/1.1\r\nHost: a\r\n\r\n",
    "RTSP behind an empty line": b"\r\nPOST /bad RTSP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "ICE": b"SOURCE /bad ICE/1.0\r\nHost: a\r\n\r\n",
    "HTTP in a field": b"GET /bad RTSP/1.0\r\nHost: a\r\nX: GET /bad HTTP/1.1\r\n\r\n",
    "two empty lines": b"\r\n\r\nGET /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "many empty lines": b"\r\n" * 50 + b"GET /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "LF": b"\nGET /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "CR": b"\rGET /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "CR and an empty line": b"\r\r\nGET /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line and LF": b"\r\n\nGET /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line and CR": b"\r\n\rGET /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces before the version": b"GET /bad  HTTP/1.1\r\nHost: a\r\n\r\n",
}


class Parsed:
    """What httptools makes of a stream that is cut as the server cuts it."""

    def __init__(self) -> None:
        self.lines = RequestLines()
        self.targets: list[bytes] = []
        self.fed = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        for piece in self.lines.pieces(data):
            self.fed += piece
            self._parser.feed_data(piece)

    def on_message_begin(self) -> None:
        assert self.lines.expects_request
        self.targets.append(b"")
        self._headers = []

    def on_url(self, url: bytes) -> None:
        self.targets[-1] += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.lines.begin_body(self._headers)


def is_refused(stream: bytes, *cuts: int) -> bool:
    """Tell whether a stream is, that comes in pieces; of what is not nothing gets lost."""
    parsed = Parsed()
    try:
        for start, end in pairwise([0, *cuts, len(stream)]):
            parsed.feed(stream[start:end])
    except (Refusal, httptools.HttpParserError):
        return True
    assert parsed.fed == stream
    return False


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("before", BEFORE)
def test_bad_beginning_is_refused_wherever_the_stream_is_cut(before: str, bad: str) -> None:
    stream = BEFORE[before] + BAD[bad]
    for cut in range(len(stream)):
        assert is_refused(stream, cut)
    assert is_refused(stream, *range(1, len(stream)))


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("empty", [b"", b"\r\n"])
def test_good_beginning_passes_wherever_the_stream_is_cut(before: str, empty: bytes) -> None:
    stream = BEFORE[before] + empty + b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n" + BEFORE[before]
    for cut in range(len(stream)):
        assert not is_refused(stream, cut)
    assert not is_refused(stream, *range(1, len(stream)))


@pytest.mark.parametrize("seed", range(5))
def test_long_streams_are_cut_where_their_requests_end(seed: int) -> None:
    """By `Parsed`: no request begins where none is expected."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(50):
        parsed, stream = Parsed(), b"".join(dice.choices([*BEFORE.values()], k=20))
        while stream:
            size = dice.choice([1, 2, 3, 30, 300])
            parsed.feed(stream[:size])
            stream = stream[size:]
        assert set(parsed.targets) == {b"/first"}


@pytest.mark.parametrize("bad", BAD)
def test_server_answers_400_and_nobody_sees_it(
    served: Served, application: Application, bad: str
) -> None:
    got = answer(served.connected(BAD[bad]))
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in got
    assert got.count(b"HTTP/1.1 ") == 1
    assert application.reached == []


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("before", ["a request", "a body", "chunks", "trailers"])
def test_requests_before_it_are_answered(
    served: Served, application: Application, before: str, bad: str
) -> None:
    got = answer(served.connected(BEFORE[before] + BAD[bad] + BEFORE["a request"]))
    assert got.endswith(b"answer to /first")
    assert application.reached == ["/first"]


@pytest.mark.parametrize("before", BEFORE)
def test_empty_line_behind_a_request_is_no_fault(served: Served, before: str) -> None:
    """As old clients send it behind a body."""
    client = served.connected(BEFORE[before] + b"\r\n")
    if before != "nothing":
        assert one_answer(client).startswith(b"HTTP/1.1 200 ")
    client.sendall(BEFORE["a body"])
    assert one_answer(client).startswith(b"HTTP/1.1 200 ")


def test_request_that_begins_where_none_was_expected_is_refused(
    served: Served, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the two that look for the end of a body ever differ, nothing gets past."""
    monkeypatch.setattr(_Chunks, "end", lambda *_: None)
    got = answer(served.connected(BEFORE["chunks"] + BAD["RTSP"] + BEFORE["a request"]))
    assert got.endswith(b"answer to /first")
    assert application.reached == ["/first"]


EXPECTING = b"POST /body HTTP/%s\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


def test_client_of_http_1_0_is_not_told_to_continue(served: Served) -> None:
    """It takes the first answer for the last (RFC 9110 section 10.1.1)."""
    client = served.connected(EXPECTING % b"1.0")
    served.settle()
    client.sendall(b"hello")
    got = answer(client)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(b"\r\n\r\nhello")


def test_client_of_http_1_1_is_told_to_continue(served: Served) -> None:
    client = served.connected(EXPECTING % b"1.1")
    assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"hello")
    assert one_answer(client).endswith(b"\r\n\r\nhello")
