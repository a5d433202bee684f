# ruff: noqa: S311 - chance alters responses, and guards nothing
"""Responses altered at random are read as Python's own client reads them, or refused.

`FUZZ_EXAMPLES=1000000` tries more of them; pytest's own seed makes a run again.
"""

import io
import os
import random
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse

import pytest

from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.response import Response, ResponseReader
from tests.sessions_kms.aws.http_client.responses import ALL

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0")) or 4000

ODD = (
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b";", b",", b"0", b"1", b"+", b"-", b"_",
    b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xa0", b"\xff",
    b"\r\n ", b"\r\n\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"HTTP/1.1 200 OK\r\n", b"0\r\n\r\n",
)  # fmt: skip


def insert(data: bytes, at: int) -> bytes:
    return data[:at] + random.choice(ODD) + data[at:]


def remove(data: bytes, at: int) -> bytes:
    return data[:at] + data[at + random.randint(1, 3) :]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]


def repeat_a_line(data: bytes, at: int) -> bytes:
    lines = data.split(b"\r\n")
    number = at % len(lines)
    return b"\r\n".join([*lines[:number], lines[number], *lines[number:]])


def drop_a_line(data: bytes, at: int) -> bytes:
    lines = data.split(b"\r\n")
    del lines[at % len(lines)]
    return b"\r\n".join(lines)


def swap_an_end(data: bytes, at: int) -> bytes:
    return data[:at] + data[at:].replace(b"\r\n", random.choice((b"\n", b"\r", b"\n\r")), 1)


ALTERATIONS: tuple[Callable[[bytes, int], bytes], ...] = (
    insert,
    remove,
    flip,
    repeat_a_line,
    drop_a_line,
    swap_an_end,
)


def random_response() -> bytes:
    data = random.choice(ALL)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        data = random.choice(ALTERATIONS)(data, random.randrange(len(data) or 1))
    return data


class Unclosed(io.BytesIO):
    """What a connection gives; http.client closes it with each response."""

    def close(self) -> None: ...

    def makefile(self, _mode: str) -> "Unclosed":
        return self


def theirs(data: bytes) -> tuple[HTTPResponse, bytes, bytes]:
    """Return the response, its body and what is left; interim answers, which it takes, left out."""
    connection = Unclosed(data)
    while True:
        response = HTTPResponse(connection, method="POST")  # type: ignore[arg-type]
        response.begin()
        if response.status >= 200:
            return response, response.read(), connection.read()


def ours(data: bytes) -> Response | None:
    try:
        return ResponseReader().receive_data(data)
    except InvalidResponse:
        return None


def same(data: bytes, found: Response) -> bool:
    response, body, rest = theirs(data)
    headers = {name.lower() for name in response.headers}
    return (
        (found.status, found.body) == (response.status, body)
        and found.headers.keys() == headers
        and all(found.headers[each] == join_fields(response, each) for each in headers)
        and found.keep_alive <= (not response.will_close and not rest)
    )


def join_fields(response: HTTPResponse, name: str) -> str:
    return ", ".join(response.headers.get_all(name, ()))


def test_altered_responses_are_read_as_http_client_reads_them_or_refused() -> None:
    read = 0
    for _ in range(EXAMPLES):
        data = random_response()
        if (found := ours(data)) is not None:
            read += 1
            try:
                assert same(data, found), data
            except HTTPException as exc:
                pytest.fail(f"read, and refused by http.client ({exc!r}): {data!r}")
    assert EXAMPLES // 10 < read < EXAMPLES  # else nothing was compared, or nothing altered
