"""The framing of request bodies towards the upstream."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway_site.edge.client import Client
from gateway_site.rules.body import RequestBody, framing
from gateway_site.rules.headers import Headers

CHUNKED = [(b"transfer-encoding", b"chunked")]


def scope(version: str, method: str, headers: Headers) -> dict[str, Any]:
    return {"http_version": version, "method": method, "headers": headers}


@pytest.mark.parametrize("version", ["2", "3"])
async def test_body_without_a_length_is_passed_on_in_chunks(version: str) -> None:
    messages = [{"type": "http.request", "body": b"hello", "more_body": False}]

    async def receive() -> Mapping[str, Any]:
        return messages.pop()

    found = framing(scope(version, "POST", [(b"content-type", b"text/plain")]), 100)
    assert found == CHUNKED
    body = RequestBody(Client({"headers": []}, receive), found, 100)
    assert [piece async for piece in body.pieces()] == [b"hello"]


@pytest.mark.parametrize(("version", "method"), [("1.1", "POST"), ("2", "GET"), ("3", "HEAD")])
def test_request_without_a_body_has_none(version: str, method: str) -> None:
    assert framing(scope(version, method, []), 100) == []


def test_content_length_is_passed_on_for_every_http_version() -> None:
    length = [(b"content-length", b"5")]
    assert framing(scope("2", "POST", length), 100) == length
