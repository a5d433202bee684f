"""Parsing of responses: their validity and their end, without a network."""

from dataclasses import dataclass, replace

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_site.transport.failures import RemoteProtocolError
from gateway_site.transport.messages import FIELDS_MAX, HEAD_MAX, ResponseReader
from tests.support.cases import each_case

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nplain"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


@dataclass(frozen=True)
class Read:
    """What was read of a response."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_unmistakable: bool = True


def read(response: bytes, *, method: str = "GET", size: int = 0, closed: bool = False) -> Read:
    """Read a response in pieces of a size, or at once. Raises RemoteProtocolError."""
    reader, body = ResponseReader(method), b""
    for start in range(0, len(response), size or len(response)):
        reader.receive_data(response[start : start + (size or len(response))])
        body += reader.take_body()
    if closed:
        reader.receive_end()
    assert reader.has_ended
    return Read(reader.status, tuple(reader.headers), body, reader.is_unmistakable)


@each_case("size", [0, 1, 2, 7], ids="in pieces of {}".format)
@each_case(
    ("response", "method", "status", "body"),
    [
        (PLAIN, "GET", 200, b"plain"),
        (CHUNKED, "GET", 200, b"one"),
        (CHUNKED[:-2] + b"X-Trailer: y\r\nConnection: close\r\n\r\n", "GET", 200, b"one"),
        (CHUNKED.replace(b"3\r\n", b'3;a=b;c="d"\r\n'), "GET", 200, b"one"),
        (EARLY + EARLY + PLAIN, "GET", 200, b"plain"),
        (b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" + PLAIN, "POST", 200, b"plain"),
        (b"HTTP/1.1 204 \r\n\r\n", "GET", 204, b""),
        (b"HTTP/1.1 304\r\nContent-Length: 5\r\n\r\n", "GET", 304, b""),
        (OK + b"Content-Length: 5\r\n\r\n", "HEAD", 200, b""),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n", "HEAD", 200, b""),
        (OK + b"X:  a b\xff \t \r\ncontent-LENGTH:\t0 \r\n\r\n", "GET", 200, b""),
    ],
    ids=lambda value: repr(value[:50]) if isinstance(value, bytes) else None,
)
def test_response_is_read_however_it_is_cut(
    response: bytes, method: str, status: int, body: bytes, size: int
) -> None:
    found = read(response, method=method, size=size)
    assert (found.status, found.body, found.is_unmistakable) == (status, body, True)
    assert b"trailer" not in repr(found.headers).lower().encode()
    assert b"link" not in dict(found.headers)


def test_header_is_given_in_lower_case_without_its_blanks() -> None:
    found = read(OK + b"X-Y:  a b\xff \t \r\nContent-Length:\t0\r\n\r\n")
    assert found.headers == ((b"x-y", b"a b\xff"), (b"content-length", b"0"))


@each_case("more", [b"\r\n", b"\n", b"x", b"H", b"\0", PLAIN, EARLY], ids=repr)
@each_case("size", [0, 1])
@each_case(
    ("response", "method"),
    [
        (PLAIN, "GET"),
        (PLAIN.replace(b"plain", b"\r\n\r\n\n"), "GET"),
        (CHUNKED, "GET"),
        (OK + b"Content-Length: 0\r\n\r\n", "GET"),
        (OK + b"Content-Length: 5\r\n\r\n", "HEAD"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", "HEAD"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET"),
        (PLAIN.replace(b"OK", b"OK\r\nConnection: close"), "GET"),
    ],
    ids=lambda value: repr(value[:60]),
)
def test_byte_too_many_is_noted_and_changes_nothing(
    response: bytes, method: str, more: bytes, size: int
) -> None:
    as_it_should_be = read(response, method=method)
    found = read(response + more, method=method, size=size)
    assert found == replace(as_it_should_be, is_unmistakable=False)


@each_case(
    "response",
    [
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"1.1 200 OK", b"1.0 200 OK\r\nConnection: keep-alive"),
        PLAIN.replace(b"OK", b"OK\r\nConnection: x, Close"),
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 45\r\n\r\n" + PLAIN,
        b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + PLAIN,
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=repr,
)
def test_response_after_which_sides_may_disagree_is_noted(response: bytes) -> None:
    assert not read(response).is_unmistakable


HEADS = [
    b"\r\n" + PLAIN,
    b"\n" + PLAIN,
    b" " + PLAIN,
    b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    *(
        PLAIN.replace(b"HTTP/1.1", version)
        for version in (b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"RTSP/1.0", b"ICE/1.0", b"http/1.1")
    ),
    *(
        PLAIN.replace(b"200", status)
        for status in (b"20", b"099", b"600", b"999", b"2000", b"2x0", b" 200", b"-20", b"101")
    ),
    PLAIN.replace(b"\r\n", b"\n"),
    PLAIN.replace(b"OK\r\n", b"OK\n"),
    PLAIN.replace(b"OK\r\n", b"O\rK\r\n"),
    PLAIN.replace(b"\r\n\r\n", b"\r\n\n"),
    *(
        OK + line + b"\r\nContent-Length: 0\r\n\r\n"
        for line in (
            b"X: a\rb", b"X: a\nb", b"X: a\0b", b"X: a\x01b", b"X: a\x7fb", b"X: a\r\n b",
            b"X:\r\n\tb", b" X: a", b"X : a", b"X", b": a", b"X(y: a", b"X\xe9: a", b"X\0: a",
        )
    ),
    *(
        OK + b"Content-Length: " + length + b"\r\n\r\n12345"
        for length in (
            b"", b"+5", b"-5", b"5, 5", b"5 5", b"0x5", b"5.", b"9" * 25, b"\xb25",
            b"5\r\nContent-Length: 5", b"5\r\nContent-Length: 4", b"1\r\n 5",
            b"5\r\nContent-Length:",
        )
    ),
    *(
        OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n"
        for coding in (
            b"", b"gzip", b"identity", b"xchunked", b"chunked;q=1", b"chunked,", b"chunked, gzip",
            b"gzip, chunked", b"chunked, chunked", b"gzip\r\nTransfer-Encoding: chunked",
            b"chunked\r\nTransfer-Encoding: chunked", b"\x0bchunked",
            b"chunked\r\nContent-Length: 5",
        )
    ),
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    CHUNKED.replace(b"1.1", b"1.0"),
]  # fmt: skip
CHUNKS = [
    CHUNKED.replace(b"3\r\n", size)
    for size in (
        b"\r\n", b"+3\r\n", b"-3\r\n", b"0x3\r\n", b" 3\r\n", b"3 \r\n", b"3\n", b"3\r", b"g\r\n",
        b"3;a\n\r\n", b"3;\0\r\n", b"1" + b"0" * 20 + b"3\r\n", b"4\r\n", b"2\r\n",
    )
] + [
    CHUNKED.replace(b"one\r\n", b"one\n"),
    CHUNKED.replace(b"one\r\n", b"one"),
    CHUNKED[:-2] + b"\n",
    CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n",
    CHUNKED[:-2] + b"X : y\r\n\r\n",
]  # fmt: skip


@each_case("size", [0, 1])
@each_case("response", HEADS + CHUNKS, ids=lambda response: repr(response[:70]))
def test_what_two_programs_may_read_differently_is_no_response(response: bytes, size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        read(response, size=size, closed=True)


@each_case("size", [1000, 60_000])
@each_case(
    "response",
    [
        OK + b"X: " + b"x" * HEAD_MAX + b"\r\nContent-Length: 0\r\n\r\n",
        OK + b"X: y\r\n" * (FIELDS_MAX + 1) + b"Content-Length: 0\r\n\r\n",
        OK + b"x" * (HEAD_MAX + 1000),
        OK[:-2] + b"x" * (HEAD_MAX + 1000),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD_MAX // 20),
        OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * (HEAD_MAX + 1000),
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * (HEAD_MAX + 1000),
        CHUNKED[:-2] + b"X: y\r\n" * (HEAD_MAX // 3),
    ],
    ids=lambda response: repr(response[:60]),
)
def test_what_is_no_body_is_bounded(response: bytes, size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        read(response, size=size)


def test_body_may_be_of_any_number_of_chunks() -> None:
    chunks = b"1\r\na\r\n" * (HEAD_MAX // 2)
    response = OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    assert read(response, size=1000).body == b"a" * (HEAD_MAX // 2)


@pytest.mark.parametrize("response", [EARLY + PLAIN, CHUNKED], ids=["length", "chunks"])
def test_truncated_response_is_incomplete_at_any_byte(response: bytes) -> None:
    for end in range(len(response)):
        reader = ResponseReader("GET")
        if end:
            reader.receive_data(response[:end])
        with pytest.raises(RemoteProtocolError):
            reader.receive_end()


def test_response_without_a_length_lasts_until_the_connection_closes() -> None:
    found = read(OK + b"\r\nall of it", size=4, closed=True)
    assert (found.body, found.is_unmistakable) == (b"all of it", False)


# Read by another parser

PARTS = [
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"200", b"204", b"304", b"103", b"100", b" OK", b"\r\n",
    b"\r\n\r\n",
    b"\n", b"\r", b" ", b"\t", b"Content-Length: 3", b"Content-Length:", b"Transfer-Encoding: ",
    b"chunked", b"gzip", b",", b"X: y", b"Connection: close", b"3", b"0", b"0\r\n\r\n", b"one",
    b"3\r\none\r\n", b";", b":", b"a", b"\0", b"\x7f", b"\xff", EARLY, PLAIN, CHUNKED,
]  # fmt: skip
CHANGES = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 4), st.sampled_from(PARTS)), max_size=3
)


def change_bytes(response: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Return a response with other bytes here and there, in place of some of its own."""
    for start, count, part in changes:
        response = response[:start] + part + response[start + count :]
    return response


def read_by_h11(response: bytes, method: str) -> Read | None:
    """Return h11's result for the response; None if it is invalid or incomplete."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(response)
    head, body = None, b""
    try:
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return None
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
    except h11.RemoteProtocolError:
        return None
    assert head is not None
    return Read(head.status_code, tuple(head.headers), body)


@given(st.sampled_from([PLAIN, CHUNKED, EARLY + PLAIN]), st.sampled_from(["GET", "HEAD"]), CHANGES)
def test_what_another_parser_reads_as_well_it_reads_alike(
    response: bytes, method: str, changes: list[tuple[int, int, bytes]]
) -> None:
    given = change_bytes(response, changes)
    try:
        ours = read(given, method=method)
    except (RemoteProtocolError, AssertionError):  # rejected, or incomplete
        return
    theirs = read_by_h11(given, method)
    if theirs is not None:
        assert (ours.status, ours.body) == (theirs.status, theirs.body)
        assert ours.headers == theirs.headers
