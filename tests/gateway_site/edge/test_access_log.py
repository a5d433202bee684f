"""The access log: one line per request, with user, path and status."""

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from django.http import HttpResponse
from django.utils.log import log_response

from gateway_site.edge import access_log, trusted_proxies
from gateway_site.edge.access_log import RejectionFilter, RequestIds
from tests.gateway_site.support.gateways import Gateway
from tests.support.cases import each_case
from tests.support.waiting import wait_until

NO_BODY: Any = None
PROXY = {trusted_proxies.TRUSTED: True}


async def respond(scope: Any, receive: Any, send: Any) -> None:
    """Answer, as somebody who called an upstream, and write a line of the log."""
    noted = access_log.entry_of(scope)
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


def ask(application: Any = respond, path: str = "/a", **scope: Any) -> list[Any]:
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


def test_line_contains_client_request_and_duration(caplog: pytest.LogCaptureFixture) -> None:
    ask(raw_path=b"/a%0Ab?code=the-code", query_string=b"code=the-code")
    [line] = lines(caplog)
    assert re.fullmatch(r"GET /a%0Ab 201 user=7 upstream=people ms=\d+", line)


def test_every_record_of_a_request_has_the_id_in_its_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start, _ = ask()
    [given] = [value.decode() for name, value in start["headers"] if name == b"x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", given)
    assert len(caplog.records) == 3
    assert {record.request_id for record in caplog.records} == {given}  # type: ignore[attr-defined]
    logging.getLogger("tests.outer").warning("outer")
    assert caplog.records[-1].request_id == "-"  # type: ignore[attr-defined]


@each_case(
    ("reported", "scope", "is_taken"),
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
    reported: list[bytes], scope: dict[str, Any], is_taken: bool
) -> None:
    headers = [(b"x-request-id", value) for value in reported]
    start, _ = ask(headers=headers, **scope)
    given = [value for name, value in start["headers"] if name == b"x-request-id"]
    assert len(given) == 1
    assert (given[0] in reported) is is_taken


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


def test_disconnected_client_and_failed_view_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    ask(leave)
    with pytest.raises(RuntimeError):
        ask(fail)
    assert [line.split()[2] for line in lines(caplog)] == ["499", "500"]


def test_path_makes_no_lines_and_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    ask(path="/a\nINFO forged \x1b[31m\u202e" + "x" * 1000)
    [line] = lines(caplog)
    assert line.isprintable()
    assert len(line) < 300


@pytest.mark.parametrize(
    ("response", "is_kept"),
    [
        ({"status": 400}, False),
        ({"status": 404}, False),
        ({"status": 429}, False),
        ({"status": 500}, True),
        ({"status": 403, "exception": PermissionError("why")}, True),
    ],
)
def test_django_logs_refused_requests_no_second_time(
    caplog: pytest.LogCaptureFixture, response: dict[str, Any], is_kept: bool
) -> None:
    def say() -> None:
        log_response(
            "%s", "said", response=HttpResponse(status=response["status"]),
            exception=response.get("exception"),
        )  # fmt: skip

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        say()
        await asyncio.to_thread(say)

    with silenced():
        ask(refuse)
        assert caplog.messages.count("said") == (2 if is_kept else 0)
        assert len(lines(caplog)) == 1
        ask(refuse, "/healthz")  # which has no line
        say()
    assert caplog.messages.count("said") == (5 if is_kept else 3)


def test_django_logs_no_503_because_its_cause_is_already_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with silenced():
        log_response("%s", "said", response=HttpResponse(status=503))
        assert caplog.messages == []
        log_response("%s", "said", response=HttpResponse(status=503), exception=OSError("why"))
    assert caplog.messages == ["said"]


@contextmanager
def silenced() -> Iterator[None]:
    """Have the filter where the settings have it."""
    reported = RejectionFilter()
    logging.getLogger("django.request").addFilter(reported)
    yield
    logging.getLogger("django.request").removeFilter(reported)


def test_daily_life_of_an_oauth_client_has_a_line_each_and_no_warning(gateway: Gateway) -> None:
    refused = [
        requests.get(f"{gateway.url}/gateway/open/a", timeout=10),
        requests.post(f"{gateway.url}/oauth/token", {"grant_type": "refresh_token"}, timeout=10),
        requests.post(f"{gateway.url}/oauth/revoke", timeout=10),
        requests.get(f"{gateway.url}/.well-known/openid-configuration", timeout=10),
        requests.get(
            f"{gateway.url}/.well-known/oauth-protected-resource/gateway/none", timeout=10
        ),
    ]
    assert [response.status_code for response in refused] == [401, 400, 400, 404, 404]
    for response in refused:
        found: list[str] = []

        def is_told(
            given: str = response.headers["X-Request-ID"], found: list[str] = found
        ) -> bool:
            log = gateway.log.read_text(encoding="utf-8").splitlines()
            found[:] = [line for line in log if f"[{given}]" in line]
            return any("gateway_site.access" in line for line in found)

        wait_until(is_told, "the line is written, after the answer")
        assert [line.split()[2:4] for line in found] == [["INFO", "gateway_site.access"]]
