"""A request contains only what was given: nothing can be injected."""

import io
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler

import pytest

from sessions_kms.aws.dynamodb.request import write_head, write_request
from tests.support.cases import each_case

LAST = ("Authorization", "x")
WHOLE = ("Authorization", "xyz")


def write_bytes(
    host: str, headers: Sequence[tuple[str, str]], body: bytes = b"", *, path: str = "/"
) -> bytes:
    return write_request(write_head(host, [*headers, LAST], path=path), "yz", body)


HOST = "dynamodb.eu-west-1.amazonaws.com"


class Read(BaseHTTPRequestHandler):
    """Python's own server, as far as it parses."""

    def __init__(self, sent: bytes) -> None:
        self.rfile = io.BytesIO(sent)
        self.raw_requestline = self.rfile.readline()
        assert self.parse_request()


def test_request_is_read_as_it_was_written() -> None:
    headers = [("X-Amz-Target", "DynamoDB_20120810.GetItem"), ("User-Agent", "a b/1.0 #:;")]
    read = Read(write_bytes(HOST, headers, b'{"a": 1}\r\n', path="/base/"))
    assert (read.command, read.path, read.request_version) == ("POST", "/base/", "HTTP/1.1")
    assert read.headers.items() == [("Host", HOST), *headers, WHOLE, ("Content-Length", "10")]
    assert read.rfile.read() == b'{"a": 1}\r\n'


def test_request_without_headers_and_body_is_one() -> None:
    read = Read(write_bytes(HOST, [], b""))
    assert read.headers.items() == [("Host", HOST), WHOLE, ("Content-Length", "0")]


@each_case("odd", ["\r", "\n", "\0", "\r\nX: y", "\t", "\x7f", "é", "\x85", "\u2028"])
def test_what_could_be_read_as_more_is_refused_anywhere(odd: str) -> None:
    good = ("X-Amz-Date", "20300101T000000Z")
    for headers in ([good, ("X", f"a{odd}b")], [(f"X{odd}", "a"), good], [("X", odd), good]):
        with pytest.raises(ValueError, match="header"):
            write_bytes(HOST, headers, b"")
    with pytest.raises(ValueError, match="printable"):
        write_bytes(f"{HOST}{odd}", [good], b"")
    with pytest.raises(ValueError, match="printable"):
        write_bytes(HOST, [good], b"", path=f"/{odd}")


@each_case("name", ["", " X", "X ", "X:", "X Y", "X: Y"])
def test_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="token"):
        write_bytes(HOST, [("A", "b"), (name, "c")], b"")


@pytest.mark.parametrize("path", ["", "x", " /", "/ HTTP/1.1", "*"])
def test_invalid_path_is_rejected(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        write_bytes(HOST, [], b"", path=path)


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "CONNECTION"])
def test_framing_is_not_the_callers(name: str) -> None:
    with pytest.raises(ValueError, match="frames"):
        write_bytes(HOST, [(name, "1")], b"")


@pytest.mark.parametrize("odd", ["\r\nX: y", "\n", "\0", "é"])
def test_rest_of_the_last_header_is_looked_at_as_the_others_are(odd: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        write_request(write_head(HOST, [LAST]), odd, b"")
