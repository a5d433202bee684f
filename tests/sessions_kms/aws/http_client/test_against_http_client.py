"""Responses altered at random are read as Python's own client reads them, or refused.

`FUZZ_EXAMPLES=1000000` tries more of them; pytest's own seed makes a run again.
"""

import io
from http.client import HTTPException, HTTPResponse

import pytest

from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.response import Response, ResponseReader
from tests.sessions_kms.support.altered_responses import EXAMPLES, random_response


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


def test_altered_answers_are_read_as_http_client_reads_them_or_refused() -> None:
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
