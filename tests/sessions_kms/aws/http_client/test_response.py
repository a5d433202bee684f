"""A response is parsed exactly, in any pieces, or is garbled; a truncated one is never accepted."""

import time
import tracemalloc
from itertools import combinations

import pytest

from sessions_kms.aws.http_client.body import BODY_MAX, FRAMING_MAX, LINE_MAX, InvalidResponse
from sessions_kms.aws.http_client.response import (
    HEAD_MAX,
    INTERIM_MAX,
    LINES_MAX,
    Response,
    ResponseReader,
)
from tests.sessions_kms.aws.http_client.responses import (
    ALL,
    BODY,
    CHUNKED,
    CLOSING,
    INTERIM,
    OLD,
    SIZED,
    TWICE,
    chunk,
    make_response,
)
from tests.support.cases import each_case

LENGTH = b"Content-Length: 2"
LAST = b"0\r\n\r\n"


def read(*pieces: bytes) -> Response | None:
    """Return the response that these bytes are, of which the connection then ends."""
    reader = ResponseReader()
    for piece in pieces:
        if (found := reader.receive_data(piece)) is not None:
            return found
    reader.receive_end()
    return None


def is_rejected(*pieces: bytes) -> bool:
    """Return True if these bytes are no response, already before the connection ends."""
    reader = ResponseReader()
    try:
        return any(reader.receive_data(piece) for piece in pieces) and False
    except InvalidResponse:
        return True


def test_response_of_dynamodb_is_read() -> None:
    assert read(SIZED) == Response(
        200,
        {
            "server": "Server",
            "date": "Wed, 01 Jan 2031 00:00:00 GMT",
            "content-type": "application/x-amz-json-1.0",
            "content-length": "30",
            "connection": "keep-alive",
            "x-amzn-requestid": "ABC",
            "x-amz-crc32": "2745614147",
        },
        BODY,
        keep_alive=True,
    )


def test_other_responses_are_read() -> None:
    chunks, old, twice, closing = (read(each) for each in (CHUNKED, OLD, TWICE, CLOSING))
    assert chunks == Response(400, {"transfer-encoding": "Chunked", "date": "now"}, BODY, True)
    assert read(INTERIM) == read(SIZED)
    assert old is not None
    assert (old.status, old.body, old.keep_alive) == (503, b"{}", False)
    assert closing is not None
    assert (closing.status, closing.body, closing.keep_alive) == (500, b"", False)
    assert twice is not None
    assert (twice.status, twice.body, twice.keep_alive) == (299, b"\0", True)
    assert (twice.headers["vary"], twice.headers["empty"]) == ("a, b", "")


@each_case("whole", ALL)
def test_every_split_gives_the_same_response(whole: bytes) -> None:
    expected = read(whole)
    assert expected is not None
    assert read(*(bytes([byte]) for byte in whole)) == expected
    for cut in range(len(whole)):
        assert read(whole[:cut], whole[cut:]) == expected
    for first, second in combinations(range(1, len(whole), 3), 2):
        assert read(whole[:first], whole[first:second], whole[second:]) == expected


@each_case("whole", ALL)
def test_response_truncated_at_any_byte_is_garbled(whole: bytes) -> None:
    for cut in range(1, len(whole)):
        with pytest.raises(InvalidResponse):
            read(whole[:cut])


def test_connection_that_ends_before_any_byte_is_no_garbled_response() -> None:
    assert read() is None


@each_case("whole", ALL)
def test_what_follows_a_response_ends_the_connection_and_changes_nothing(whole: bytes) -> None:
    alone = read(whole)
    assert alone is not None
    for more in (b"\n", b"\r\n", b"H", SIZED):
        followed = read(whole + more)
        assert followed == Response(alone.status, alone.headers, alone.body, keep_alive=False)


@each_case(
    "headers",
    [
        (),
        (b"Content-Length:",),
        (b"Content-Length: +2",),
        (b"Content-Length: -0",),
        (b"Content-Length: 2_0",),
        (b"Content-Length: 0x2",),
        (b"Content-Length: 2.0",),
        (b"Content-Length: \xb2",),  # a digit to Python
        (b"Content-Length: 2, 2",),
        (b"Content-Length: 00000000002",),
        (b"Content-Length: 2 ",),
        (LENGTH, LENGTH),
        (LENGTH, b"content-length: 1"),
        (LENGTH, b"Transfer-Encoding: chunked"),
        (LENGTH, b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding: chunked ",),
        (b"Transfer-Encoding:",),
    ],
)
def test_ambiguous_length_is_garbled(headers: tuple[bytes, ...]) -> None:
    assert is_rejected(make_response(*headers))


@each_case(
    "line",
    [
        b"X : a",
        b" X: a",
        b"\tfolded",
        b"X\r\n folded: a",
        b"X: a\r\n b",
        b"X: a\nY: b",
        b"X: a\rY: b",
        b"X: a\0b",
        b"X: a\x0bb",
        b"X: a\x7fb",
        b": a",
        b"X",
        b"X(: a",
        b"X\xe9: a",
    ],
)
def test_ambiguous_header_is_garbled(line: bytes) -> None:
    assert is_rejected(make_response(LENGTH, line))
    assert is_rejected(make_response(line, LENGTH))
    assert is_rejected(chunk(LAST[:-2], line + b"\r\n\r\n"))


@each_case(
    "status",
    [
        b"HTTP/1.2 200 OK",
        b"HTTP/2 200 OK",
        b"HTTP/0.9 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"\r\nHTTP/1.1 200 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 600 OK",
        b"HTTP/1.1 2\xb20 OK",
        b"HTTP/1.1 200 O\0K",
        b"HTTP/1.1 200 OK\n",
        b"",
    ],
)
def test_invalid_status_line_is_garbled(status: bytes) -> None:
    assert is_rejected(make_response(LENGTH, status=status))


@pytest.mark.parametrize("status", [b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"])
def test_response_that_may_have_no_body_is_garbled(status: bytes) -> None:
    assert is_rejected(make_response(LENGTH, status=status))
    assert is_rejected(make_response(status=status, body=b""))


def test_old_version_has_no_chunks() -> None:
    chunks = [b"Transfer-Encoding: chunked"]
    assert is_rejected(make_response(*chunks, status=b"HTTP/1.0 200 OK", body=LAST))


@pytest.mark.parametrize(
    "said", [b"close", b"CLOSE", b"x ,\tclose", b"keep-alive\r\nConnection: close"]
)
def test_close_is_recognised_in_any_position(said: bytes) -> None:
    found = read(make_response(LENGTH, b"Connection: " + said))
    assert found is not None
    assert not found.keep_alive


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIM_MAX + 1),
        b"HTTP/1.1 100 Continue\r\n\r\n\r\n",
    ],
)
def test_interim_response_with_a_body_is_garbled(interim: bytes) -> None:
    assert is_rejected(interim + SIZED)
    assert read(b"HTTP/1.1 100 Continue\r\n\r\n" * INTERIM_MAX + SIZED) == read(SIZED)


@each_case(
    "piece",
    [
        b"\r\n",
        b" 2\r\nab\r\n",
        b"+2\r\nab\r\n",
        b"0x2\r\nab\r\n",
        b"2_0\r\nab\r\n",
        b"2 \r\nab\r\n",
        b"2 b\r\nab\r\n",
        b"2;a\0\r\nab\r\n",
        b"2;a\nb\r\nab\r\n",
        b"2\nab\r\n",
        b"000000002\r\nab\r\n",
        b"2\r\nabc\r\n",
        b"2\r\nab\n",
        b"g\r\n",
        b"-2\r\n",
    ],
)
def test_invalid_chunk_is_garbled(piece: bytes) -> None:
    assert is_rejected(chunk(piece, LAST))
    assert is_rejected(chunk(b"1\r\na\r\n", piece, LAST))


def test_heads_are_bounded_while_they_come() -> None:
    for endless in (b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C"):
        assert is_rejected(endless, *[b"a" * 1024] * (HEAD_MAX // 1024))
    padding = b"X: " + b"a" * (HEAD_MAX - len(make_response(LENGTH, b"X: ")) + 2)
    assert read(make_response(LENGTH, padding)) is not None
    assert is_rejected(make_response(LENGTH, padding + b"a"))
    assert read(make_response(LENGTH, *[b"a:"] * (LINES_MAX - 2))) is not None
    assert is_rejected(make_response(LENGTH, *[b"a:"] * (LINES_MAX - 1)))
    hint = b"HTTP/1.1 103 Early\r\nX: " + b"a" * (HEAD_MAX // 3) + b"\r\n\r\n"
    assert read(hint * 2 + SIZED) is not None
    assert is_rejected(hint * 3 + SIZED)


def test_head_without_headers_is_rejected_in_linear_time() -> None:
    began = time.process_time()
    for _ in range(20):
        assert is_rejected(make_response(LENGTH, b"a" * (HEAD_MAX - 100)))
    assert time.process_time() - began < 2  # linear: milliseconds; quadratic: ten seconds


def test_bodies_are_bounded_before_they_come() -> None:
    assert is_rejected(make_response(b"Content-Length: %d" % (BODY_MAX + 1), body=b""))
    assert is_rejected(chunk(b"%x\r\n" % (BODY_MAX + 1)))
    assert is_rejected(chunk(b"ffffffff\r\n"))
    large = read(chunk(b"%x\r\n" % (BODY_MAX - 1), b"a" * (BODY_MAX - 1), b"\r\n1\r\na\r\n", LAST))
    assert large is not None
    assert len(large.body) == BODY_MAX
    assert is_rejected(chunk(b"%x\r\n" % BODY_MAX, b"a" * BODY_MAX, b"\r\n1\r\n"))


def test_data_between_chunks_is_bounded() -> None:
    long = b"1;" + b"a" * (LINE_MAX - 2) + b"\r\na\r\n"
    assert read(chunk(long, LAST)) is not None
    assert is_rejected(chunk(b"1;" + b"a" * LINE_MAX))
    assert is_rejected(chunk(long * (FRAMING_MAX // LINE_MAX)))
    assert is_rejected(chunk(b"0\r\n", *[b"a: b\r\n"] * (FRAMING_MAX // 5)))


def test_large_body_in_single_bytes_costs_no_more_memory_than_its_bound() -> None:
    reader = ResponseReader()
    reader.receive_data(make_response(b"Transfer-Encoding: chunked", body=b""))
    tracemalloc.start()
    for _ in range(2000):
        reader.receive_data(b"10;" + b"a" * 100 + b"\r\n" + b"b" * 16 + b"\r\n")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * 2000 * 16


def test_repr_and_error_contain_nothing_of_a_response() -> None:
    secret = b"c2VjcmV0"
    found = read(make_response(b"Content-Length: 8", body=secret))
    assert secret.decode() not in repr(found)
    for garbled in (make_response(b"X : " + secret), chunk(secret), make_response(LENGTH, secret)):
        with pytest.raises(InvalidResponse) as caught:
            read(garbled)
        assert secret.decode() not in f"{caught.value!r}{caught.value.__context__!r}"
