"""Hostile requests: rejected ones reach no upstream, and others are passed on unchanged.

Each case of `hostile.json` is one request of a person who is signed in, sent as bytes:

- `target`, `method` (GET), `version`, `host` (the gateway's; null for none), `headers`
  (lines, behind the usual ones; before them where `first`), `body`;
- `status`: the response's, or those it may have;
- `reached`: what the upstream must have got, once; without it, nothing may have arrived,
  but for a request that is `begun` before its body turns out to be wrong.

`{host}`, `{port}` and `{token}` stand for the gateway's and the person's. `{N x}` is "x"
N times. Characters are bytes (latin-1), but for a host, which is UTF-8.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_site.support.gateways import TOKEN, Gateway
from tests.support.cases import each_case

CASES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("hostile.json").read_text(encoding="utf-8")
)
REPEATED = re.compile(r"\{(?:(\d+) ([^}]+)|([^}*]+) \* (\d+))\}")


def repeat(text: str) -> str:
    return REPEATED.sub(lambda found: (found[2] or found[3]) * int(found[1] or found[4]), text)


class Request:
    """One case as bytes."""

    def __init__(self, gateway: Gateway, csrf: dict[str, str]) -> None:
        self.names = {
            "{host}": f"127.0.0.1:{gateway.port}",
            "{port}": str(gateway.port),
            "{token}": TOKEN,
        }
        self.usual = [
            f"Cookie: gateway_sessionid={gateway.keys[0]}; gateway_csrftoken={csrf['cookie']}",
            f"X-CSRFToken: {csrf['token']}",
            "Connection: close",
        ]

    def fill_in(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(name, value)
        return repeat(text)

    def of(self, case: dict[str, Any]) -> bytes:
        host = case.get("host", "{host}")
        hosts = [] if host is None else [f"Host: {self.fill_in(host)}".encode().decode("latin-1")]
        usual = [*hosts, *self.usual, f"Mcp-Case: {case['name']}"]
        own = [self.fill_in(line) for line in case.get("headers", [])]
        lines = [*own, *usual] if case.get("first") else [*usual, *own]
        first = f"{case.get('method', 'GET')} {self.fill_in(case['target'])}"
        first += case.get("version", " HTTP/1.1")
        head = "\r\n".join([first, *lines])
        return f"{head}\r\n\r\n{self.fill_in(case.get('body', ''))}".encode("latin-1")


@pytest.fixture(scope="module")
def request_of(gateway: Gateway) -> Request:
    with gateway.writer() as client:
        csrf = {
            "token": str(client.headers["X-CSRFToken"]),
            "cookie": client.cookies["gateway_csrftoken"],
        }
    return Request(gateway, csrf)


def test_cases_are_many_and_uniquely_named() -> None:
    assert len(CASES) >= 100
    assert len({case["name"] for case in CASES}) == len(CASES)


@pytest.mark.slow
@each_case("case", CASES, ids=[case["name"] for case in CASES])
def test_hostile_request(gateway: Gateway, request_of: Request, case: dict[str, Any]) -> None:
    sent = len(gateway.canned.requests)
    response = gateway.raw(request_of.of(case))
    reached = case.get("reached")

    head, _, body = response.removeprefix(b"HTTP/1.1 100 \r\n\r\n").partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    expected = case["status"] if isinstance(case["status"], list) else [case["status"]]
    assert int(head.split(b" ", 2)[1]) in expected, response
    assert response.count(b"HTTP/1.1 ") - response.count(b"HTTP/1.1 100") == 1, response
    state = gateway.state()
    calls = state.get(f"case {case['name']}", 0)
    assert "/smuggled" not in state
    assert calls == (0 if reached is None else 1) or (case.get("begun") and calls == 1)
    assert len(gateway.canned.requests) == sent
    if reached is not None:
        assert_reached(request_of, json.loads(body), reached)


def assert_reached(request: Request, got: dict[str, Any], reached: dict[str, Any]) -> None:
    names = [name for name, _ in got["headers"]]
    values = dict(got["headers"])
    assert (got["path"], got["query"]) == (reached["path"], reached["query"])
    assert got["body"] == reached.get("body", "")
    assert len(names) == len(set(names)) or names.count("accept") > 1, names
    assert values["authorization"] == f"Bearer {TOKEN}"
    assert values["host"].startswith("127.0.0.1:")
    assert "cookie" not in names
    assert not set(reached.get("absent", [])) & set(names)
    for name, value in reached.get("present", {}).items():
        assert values[name] == request.fill_in(value)
