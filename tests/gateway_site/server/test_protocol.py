"""One client's connection: what its requests know of each other, and what is left when it goes."""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from tests.gateway_site.server.served import answer, serving

CLOSE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
BODY = b"\r\nContent-Length: 5\r\n\r\n"  # announced, and not sent
PATIENCE = 20  # seconds
LARGE = 200_000  # bytes of a body, from which on the server reads no more until some are taken
caller: ContextVar[str] = ContextVar("caller", default="nobody")


async def noting(scope: Any, receive: Any, send: Any) -> None:
    """Tell who called as this request's context has it, and note somebody there."""
    before = caller.get()
    caller.set("somebody")
    while (await receive()).get("more_body"):
        pass
    body = before.encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def test_client_that_has_gone_when_its_answer_is_there_is_no_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Anybody can do so, as often as they like."""
    reached, gone, answered = threading.Event(), threading.Event(), threading.Event()

    async def answering(_scope: Any, _receive: Any, send: Any) -> None:
        reached.set()
        gone.wait(PATIENCE)  # The event loop hears of nothing meanwhile.
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})
        answered.set()

    with serving(answering) as served:
        client = served.connected(CLOSE.replace(b"GET", b"POST").replace(b"\r\n\r\n", BODY))
        assert reached.wait(PATIENCE)
        client.close()
        gone.set()
        assert answered.wait(PATIENCE)
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("size", [0, LARGE], ids=["sent ahead", "after a large body"])
def test_request_has_nothing_of_the_context_of_the_one_before(size: int) -> None:
    first = CLOSE.replace(b"GET", b"POST").replace(
        b"Connection: close", b"Content-Length: %d" % size
    )
    with serving(noting) as served:
        client = served.connected(first + b"x" * size + CLOSE)
        assert answer(client).count(b"nobody") == 2
