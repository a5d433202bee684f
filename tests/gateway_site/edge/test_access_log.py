"""One line a request: who asked for what, and what became of it."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from gateway_site.edge import access_log, trusted_proxies
from gateway_site.edge.access_log import RequestIds

NO_BODY: Any = None
PROXY = {trusted_proxies.TRUSTED: True}


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer, as somebody who called an upstream, and write a line of the log."""
    noted = access_log.noted(scope)
    assert noted is not None
    noted.user, noted.upstream = "7", "people"
    logging.getLogger("tests.inner").warning("inner")
    await asyncio.to_thread(logging.getLogger("tests.inner").warning, "in a thread")
    await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b""})


async def leave(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing: the client has gone."""


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError


def ask(application: Any = answer, path: str = "/a", **scope: Any) -> list[Any]:
    """Ask once; give what was sent."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    whole = {
        "type": "http", "method": "GET", "path": path, "root_path": "", "headers": [], **scope,
    }  # fmt: skip

    async def run() -> None:
        await access_log.asgi(application)(whole, NO_BODY, send)

    asyncio.run(run())
    return sent


@pytest.fixture(autouse=True)
def identified(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(RequestIds())


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.name == "gateway_site.access"]
    return [record.getMessage() for record in found]


def test_line_tells_who_what_and_how_long(caplog: pytest.LogCaptureFixture) -> None:
    ask(raw_path=b"/a%0Ab?code=the-code", query_string=b"code=the-code")
    [line] = lines(caplog)
    assert re.fullmatch(r"GET /a%0Ab 201 user=7 upstream=people ms=\d+", line)


def test_every_record_of_a_request_has_the_id_that_is_given_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start, _ = ask()
    [given] = [value.decode() for name, value in start["headers"] if name == b"x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", given)
    assert len(caplog.records) == 3
    assert {record.request_id for record in caplog.records} == {given}  # type: ignore[attr-defined]
    logging.getLogger("tests.outer").warning("outer")
    assert caplog.records[-1].request_id == "-"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("told", "scope", "is_taken"),
    [
        ([b"from-the.proxy_1"], PROXY, True),
        ([b"from-the-client"], {}, False),
        ([b"from-the-client"], {trusted_proxies.TRUSTED: False}, False),
        ([b"forged\nINFO line"], PROXY, False),
        ([b"x" * 129], PROXY, False),
        ([b"one", b"two"], PROXY, False),
        ([], PROXY, False),
    ],
)
def test_id_is_taken_from_a_trusted_proxy_only(
    told: list[bytes], scope: dict[str, Any], is_taken: bool
) -> None:
    headers = [(b"x-request-id", value) for value in told]
    start, _ = ask(headers=headers, **scope)
    given = [value for name, value in start["headers"] if name == b"x-request-id"]
    assert len(given) == 1
    assert (given[0] in told) is is_taken


def test_id_that_an_upstream_answers_with_is_not_the_requests() -> None:
    async def passing(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Request-ID", b"of-the-upstream"), (b"a", b"b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    [start] = ask(passing)
    names = [name for name, _ in start["headers"]]
    assert names == [b"a", b"x-request-id"]
    assert b"of-the-upstream" not in dict(start["headers"]).values()


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_health_has_no_line(caplog: pytest.LogCaptureFixture, path: str) -> None:
    ask(leave, path)
    assert not lines(caplog)


def test_client_that_goes_and_view_that_fails_are_told(caplog: pytest.LogCaptureFixture) -> None:
    ask(leave)
    with pytest.raises(RuntimeError):
        ask(fail)
    assert [line.split()[2] for line in lines(caplog)] == ["499", "500"]


def test_path_makes_no_lines_and_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    ask(path="/a\nINFO forged \x1b[31m\u202e" + "x" * 1000)
    [line] = lines(caplog)
    assert line.isprintable()
    assert len(line) < 300
