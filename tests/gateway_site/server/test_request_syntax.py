"""Heads that no two programs read alike, or that do not end: refused, and not seen by anybody."""

import random
from contextlib import suppress
from itertools import pairwise

import httptools
import pytest

from gateway_site.server.request_syntax import (
    FIELD_SIZE,
    HEAD_FIELDS,
    HEAD_SIZE,
    BadRequest,
    RequestLines,
    _ChunkedBody,
)
from tests.gateway_site.server.rejected_heads import CASES
from tests.gateway_site.server.served import Served, read_all, read_response
from tests.support.cases import each_case

HOST = b"Host: a\r\n"


@pytest.mark.parametrize("name", CASES)
def test_refused_with_a_reason_and_closed_before_anything_sees_it(
    served: Served, name: str
) -> None:
    status, request = CASES[name]
    client = served.connect()
    with suppress(OSError):  # it may close before it has taken all
        client.sendall(request + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    got = read_all(client)
    assert got.startswith(b"HTTP/1.1 %d " % status), got
    assert b"connection: close" in got
    assert got.count(b"HTTP/1.1 ") == 1
    assert served.application.reached == []


LARGEST = HEAD_SIZE - len(b"/hostacookie") - 2 * 4


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"x" * LARGEST + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (FIELD_SIZE - 1) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: " + b";" * 1024 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (HEAD_FIELDS - 1) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=[
        "largest",
        "largest field",
        "largest content type",
        "as many",
        "empty field",
        "HTTP/1.0",
        "capital",
        "empty line before",
    ],
)
def test_what_is_within_the_bounds_passes(served: Served, request_: bytes) -> None:
    got = read_response(served.connect(request_))
    assert got.startswith(b"HTTP/1.1 200 ")
    assert served.application.reached == ["/"]


CHUNKED = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"0\r\nX: " + b"x" * 1_000_000, 431),
        (b"0\r\n" + b"X: y\r\n" * 200_000, 431),
        (b"2;" + b"x" * 1_000_000, 431),
        (b"zz\r\n", 400),
        (b"2\r\nabc\r\n", 400),
        (b"2\nab\n", 400),
    ],
    ids=["trailer", "trailers", "extension", "size", "length", "LF"],
)
def test_body_that_turns_out_to_be_wrong_ends_the_request(
    served: Served, rest: bytes, status: int
) -> None:
    client = served.connect(CHUNKED)
    with suppress(OSError):
        client.sendall(rest)
    assert read_all(client).startswith(b"HTTP/1.1 %d " % status)
    assert served.application.gone.wait(20)


def test_trailers_are_no_headers(served: Served) -> None:
    """uvicorn adds them to what the application has read already."""
    got = read_response(served.connect(CHUNKED + b"0\r\nX-Forwarded-Proto: https\r\n\r\n"))
    assert got.endswith(b"\r\n\r\nhi")
    served.settle()
    assert [name for name, _ in served.application.headers] == [b"host", b"transfer-encoding"]


def test_request_after_a_refused_one_is_not_read_and_one_before_is_answered(served: Served) -> None:
    good, bad = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /bad HTTP/1.1\r\n\r\n"
    got = read_all(served.connect(good + bad + good.replace(b"first", b"third")))
    assert got.count(b"HTTP/1.1 ") == 1
    assert got.endswith(b"response to /first")
    assert served.application.reached == ["/first"]


def test_as_many_requests_sent_ahead_as_are_taken_are_answered(served: Served) -> None:
    got = read_all(served.connect(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" * 1000))
    assert got.count(b"HTTP/1.1 200 ") == len(served.application.reached) == 17


@pytest.mark.parametrize("kind", [b"websocket", b"h2c", b"TLS/1.0", b"x, y"])
def test_upgrade_request_is_ignored(served: Served, kind: bytes) -> None:
    """What comes after it may be of that protocol, so nothing of it is read."""
    upgrade = (
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % kind
    )
    got = read_all(served.connect(upgrade + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in got
    assert served.application.reached == ["/x"]


@pytest.mark.parametrize("framing", [b"Content-Length: 2", b"Transfer-Encoding: chunked"])
def test_upgrade_with_a_body_is_refused(served: Served, framing: bytes) -> None:
    """httptools would take the body for the other protocol's, and the application miss it."""
    upgrade = b"POST /body HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    got = read_all(served.connect(upgrade + framing + b"\r\n\r\nhi"))
    assert got.startswith(b"HTTP/1.1 400 ")
    assert served.application.reached == []


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
    """Return True if a stream is, that comes in pieces; of what is not nothing gets lost."""
    parsed = Parsed()
    try:
        for start, end in pairwise([0, *cuts, len(stream)]):
            parsed.feed(stream[start:end])
    except (BadRequest, httptools.HttpParserError):
        return True
    assert parsed.fed == stream
    return False


@each_case("bad", BAD)
@each_case("before", BEFORE)
def test_bad_beginning_is_refused_wherever_the_stream_is_cut(before: str, bad: str) -> None:
    stream = BEFORE[before] + BAD[bad]
    for cut in range(len(stream)):
        assert is_refused(stream, cut)
    assert is_refused(stream, *range(1, len(stream)))


@each_case("before", BEFORE)
@each_case("empty", [b"", b"\r\n"])
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
def test_invalid_request_is_a_400_and_reaches_no_application(served: Served, bad: str) -> None:
    got = read_all(served.connect(BAD[bad]))
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in got
    assert got.count(b"HTTP/1.1 ") == 1
    assert served.application.reached == []


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("before", ["a request", "a body", "chunks", "trailers"])
def test_requests_before_it_are_answered(served: Served, before: str, bad: str) -> None:
    got = read_all(served.connect(BEFORE[before] + BAD[bad] + BEFORE["a request"]))
    assert got.endswith(b"response to /first")
    assert served.application.reached == ["/first"]


@pytest.mark.parametrize("before", BEFORE)
def test_empty_line_behind_a_request_is_no_fault(served: Served, before: str) -> None:
    """As old clients send it behind a body."""
    client = served.connect(BEFORE[before] + b"\r\n")
    if before != "nothing":
        assert read_response(client).startswith(b"HTTP/1.1 200 ")
    client.sendall(BEFORE["a body"])
    assert read_response(client).startswith(b"HTTP/1.1 200 ")


def test_unexpected_start_of_a_request_is_rejected(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the two that look for the end of a body ever differ, nothing gets past."""
    monkeypatch.setattr(_ChunkedBody, "end", lambda *_: None)
    got = read_all(served.connect(BEFORE["chunks"] + BAD["RTSP"] + BEFORE["a request"]))
    assert got.endswith(b"response to /first")
    assert served.application.reached == ["/first"]


EXPECTING = b"POST /body HTTP/%s\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


def test_client_of_http_1_0_is_not_told_to_continue(served: Served) -> None:
    """It takes the first response for the last (RFC 9110 section 10.1.1)."""
    client = served.connect(EXPECTING % b"1.0")
    served.settle()
    client.sendall(b"hello")
    got = read_all(client)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(b"\r\n\r\nhello")


def test_client_of_http_1_1_is_told_to_continue(served: Served) -> None:
    client = served.connect(EXPECTING % b"1.1")
    assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"hello")
    assert read_response(client).endswith(b"\r\n\r\nhello")
