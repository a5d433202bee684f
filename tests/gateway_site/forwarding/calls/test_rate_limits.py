"""Rates of calls, over real HTTP; whom a client's calls are counted for."""

import json
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from pytest_django import Settings

from gateway_site.forwarding.calls import limits
from gateway_site.forwarding.calls.limits import limit_rate
from gateway_site.forwarding.calls.mcp.reading_threads import IN_LOOP
from gateway_site.mcp.messages import read_message
from gateway_site.policy.rates import RateCounter
from gateway_site.rules.problems import Problem
from gateway_site.rules.upstream import Upstream
from oauth.clients.server import AuthorizationServer
from sessions_kms import about
from tests.gateway_site.support.declared_upstreams import read_api
from tests.gateway_site.support.gateways import Gateway


def call(method: str, request_id: int | None, **params: str) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message | ({} if request_id is None else {"id": request_id})).encode()


def post_message(
    gateway: Gateway, client: requests.Session, upstream: str, data: bytes
) -> requests.Response:
    url = f"{gateway.url}/gateway/{upstream}/message"
    kind = {"Content-Type": "application/json"}
    return client.post(url, data=data, headers=kind, timeout=20)


def test_calls_beyond_a_rate_are_errors_that_a_client_can_show(gateway: Gateway) -> None:
    with gateway.writer() as client:
        post = partial(post_message, gateway, client, "counted")

        before = gateway.state().get("/message", 0)
        assert post(call("tools/call", 1, name="look_a")).status_code == 200
        refused = post(call("tools/call", 7, name="look_b"))
        assert (refused.status_code, refused.headers["Content-Type"]) == (429, "application/json")
        assert refused.headers["Retry-After"] == "3600"
        assert refused.headers["RateLimit-Policy"] == '"look*";q=1;w=3600'
        assert refused.headers["RateLimit"] == '"look*";r=0;t=3600'
        assert refused.json() == {
            "jsonrpc": "2.0",
            "id": 7,
            "error": {
                "code": -32014,
                "message": "Too many calls. Try again in 3600 seconds.",
                "data": {"problem": "rate_exceeded"},
            },
        }
        assert post(call("prompts/get", 1, name="look_a")).status_code == 200
        assert post(call("tools/call", 1, name="read")).status_code == 200
        assert post(call("notifications/initialized", None)).json()["id"] is None
        stream = client.get(f"{gateway.url}/gateway/counted/message", timeout=20)
        assert (stream.status_code, stream.json()["code"]) == (429, "rate_exceeded")
        assert gateway.state()["/message"] == before + 3


def test_large_message_is_read_only_if_the_general_rates_allow_it(gateway: Gateway) -> None:
    """One person's messages, which take a thread to read, do not delay others behind a rate."""
    with gateway.writer(-1) as client:
        post = partial(post_message, gateway, client, "counted")

        def error(response: requests.Response) -> tuple[int, int, Any]:
            found = response.json()
            return response.status_code, found["error"]["code"], found["id"]

        large = call("tools/call", 7, name="look_a", text="a" * IN_LOOP)
        assert error(post(b"[")) == (400, -32700, None)  # small ones count once they are read
        assert post(large).status_code == 200
        exceeded = post(large)
        assert error(exceeded) == (429, -32014, 7)
        assert exceeded.headers["RateLimit-Policy"] == '"look*";q=1;w=3600'
        assert error(post(b"[" * (IN_LOOP + 1))) == (400, -32700, None)
        for data in (large, b"[" * (IN_LOOP + 1)):
            exceeded = post(data)
            assert error(exceeded) == (429, -32014, None)
            assert exceeded.headers["RateLimit-Policy"] == '"calls";q=3;w=3600'


def test_large_message_is_read_only_for_people_in_a_group_of_the_upstream(gateway: Gateway) -> None:
    unreadable = b"[" * (IN_LOOP + 1)
    for person, data, status in [
        *((0, unreadable, 400), (0, unreadable[:-1], 400)),
        *((-1, unreadable, 403), (-1, unreadable[:-1], 400)),
    ]:
        with gateway.writer(person) as client:
            response = post_message(gateway, client, "grouped", data)
        assert response.status_code == status
    assert response.json()["error"]["data"]["problem"] == "bad_message"


def test_sessions_of_one_person_share_the_rate_of_any_upstream(gateway: Gateway) -> None:
    url = f"{gateway.url}/gateway/ratedapi/echo"
    with gateway.client(0) as first, gateway.client(1) as second:
        callers = (first, second, first, second)
        responses = [each.get(url, timeout=20) for each in callers]
        page = first.get(url, headers={"Sec-Fetch-Dest": "document"}, timeout=20)
    assert [each.status_code for each in responses] == [200, 200, 429, 429]
    assert (page.status_code, "<h1>Too many requests</h1>" in page.text) == (429, True)
    assert int(page.headers["Retry-After"]) > 0
    refused = responses[-1]
    assert refused.json()["code"] == refused.headers["X-Gateway-Problem"] == "rate_exceeded"
    assert refused.headers["RateLimit-Policy"] == '"calls";q=2;w=3600'


def make_call(upstream: Upstream, grant: object = None) -> Any:
    """Return what rates need of an admitted call."""
    caller = SimpleNamespace(grant=grant)
    return SimpleNamespace(upstream=upstream, owner=SimpleNamespace(person="1"), caller=caller)


def test_clients_are_counted_apart_but_not_those_that_registered_themselves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "rate_counter", RateCounter(lambda: 0.0))
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        issuer="https://gateway.example",
        upstreams={},
        listed={"own": None},  # type: ignore[dict-item]  # only its id matters
    )

    def passes(client_id: str | None) -> bool:
        labels = {about.CLIENT: "A", about.CLIENT_ID: client_id}
        grant = None if client_id is None else SimpleNamespace(labels=labels)
        try:
            limit_rate(make_call(read_api(RATE="1/h"), grant), None)
        except Problem:
            return False
        return True

    document = "https://app.example/client"
    assert [passes(each) for each in (None, "own", document, "dcr.a")] == [True] * 4
    again = (None, "own", "https://app.example/other", "dcr.b", "sha256:" + "0" * 64, "")
    assert [passes(each) for each in again] == [False] * 6
    assert passes("https://other.example/client")


@pytest.mark.parametrize(
    ("method", "name", "passes"),
    [
        *(
            ("tools/call", "look", False),
            ("Tools/Call", "look", False),
            ("tools/call/", "LOOK", False),
        ),
        *(("tools/call", "read", True), ("prompts/get", "look", True)),
    ],
)
def test_other_spelling_of_a_call_is_no_way_around_the_rate_of_a_tool(
    monkeypatch: pytest.MonkeyPatch, method: str, name: str, passes: bool
) -> None:
    monkeypatch.setattr(limits, "rate_counter", RateCounter(lambda: 0.0))
    upstream_call = make_call(read_api(RATE="look=1/h"))
    limit_rate(upstream_call, read_message(call("tools/call", 1, name="look")))
    with nullcontext() if passes else pytest.raises(Problem):
        limit_rate(upstream_call, read_message(call(method, 2, name=name)))


def test_rate_of_a_tool_implies_that_messages_are_read() -> None:
    assert read_api(RATE="9/m look=1/m").read_mcp
    assert not read_api(RATE="9/m").read_mcp
    assert read_api().rates == ()
