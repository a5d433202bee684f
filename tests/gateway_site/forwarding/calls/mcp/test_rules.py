"""Rules of an upstream, over real HTTP: what people and their clients may call, and what they see.

The rules are `RULES` of the gateway's tests: people in `sales` may search and delete, but clients
that registered themselves may not delete; some clients may export.
"""

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.gateway_site.support.client_tokens import Caller
from tests.gateway_site.support.gateways import LONG_ID, RULES, Gateway
from tests.gateway_site.support.mcp_reading import JSON, NEW, response_path
from tests.support.waiting import wait_until

META = {"io.modelcontextprotocol/protocolVersion": NEW}
ALLOWED = "allowed"
UNKNOWN_TOOL, UNKNOWN_METHOD = (200, -32602, "Unknown tool."), (200, -32601, "Unknown method.")
TOOLS = ["search_a", "delete", "export", "other"]
Post = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def browsers(gateway: Gateway) -> Iterator[tuple[requests.Session, requests.Session]]:
    """Return one of the person in the group, and one of the other person."""
    with gateway.writer() as first, gateway.writer(-1) as other:
        yield first, other


def post(
    client: requests.Session | Caller, url: str, message: dict[str, Any], **options: Any
) -> requests.Response:
    headers = JSON | options.pop("headers", {})
    if isinstance(client, Caller):
        path = url.partition("/gateway/")[2]
        return client.call(path, "POST", json=message, headers=headers, **options)
    return client.post(url, json=message, headers=headers, timeout=20, **options)


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def outcome(response: requests.Response) -> Any:
    """Return `allowed`, or status, code and text of the denial."""
    found = response.json()
    if "error" not in found:
        assert response.status_code == 200
        assert "X-Gateway-Problem" not in response.headers
        return ALLOWED
    assert found["id"] == 7
    assert response.headers["X-Gateway-Problem"] == found["error"]["data"]["problem"] == "denied"
    return response.status_code, found["error"]["code"], found["error"]["message"]


def try_tools(client: requests.Session | Caller, gateway: Gateway, upstream: str) -> list[str]:
    """Call all tools; return those that reached the upstream."""
    url = f"{gateway.url}/gateway/{upstream}/message"
    before, passed = gateway.state().get("/message", 0), []
    for name in TOOLS:
        found = outcome(post(client, url, message("tools/call", name=name)))
        assert found in (ALLOWED, UNKNOWN_TOOL)
        if found == ALLOWED:
            passed.append(name)
    assert gateway.state().get("/message", 0) == before + len(passed)
    return passed


@pytest.mark.parametrize("upstream", ["ruled", "notes"])
def test_groups_decide_which_tools_a_person_may_call(
    gateway: Gateway, browsers: tuple[requests.Session, requests.Session], upstream: str
) -> None:
    """At a connected MCP server, which has none, those of the sign-in count."""
    member, other = browsers
    assert try_tools(member, gateway, upstream) == ["search_a", "delete"]
    assert try_tools(other, gateway, upstream) == []
    url = f"{gateway.url}/gateway/{upstream}/message"
    assert outcome(post(member, url, message("initialize"))) == ALLOWED
    assert outcome(post(other, url, message("initialize"))) == UNKNOWN_METHOD
    response = other.get(url, timeout=20)
    assert (response.status_code, response.json()["code"]) == (403, "denied")


DOCUMENT = "https://app.example/client.json"


@pytest.mark.parametrize(
    ("client_id", "allowed"),
    [
        ("own", ["search_a", "delete", "export"]),
        (LONG_ID, ["search_a", "delete", "export"]),
        (DOCUMENT, ["search_a", "delete", "export"]),
        (DOCUMENT + "/long" * 30, ["search_a", "delete", "export"]),
        ("https://app.example.evil.example/client", ["search_a", "delete"]),
        ("", ["search_a"]),
    ],
    ids=["listed", "long listed", "document", "long document", "another host", "registered"],
)
def test_rules_know_clients_by_what_cannot_be_claimed(
    gateway: Gateway, client_id: str, allowed: list[str]
) -> None:
    """The grants are of the person in the group; all clients have the same name."""
    named = {"client_id": client_id} if client_id else {}
    assert try_tools(Caller.allowed(gateway, "ruled", **named), gateway, "ruled") == allowed


def test_lists_have_on_each_page_what_the_caller_may_call(
    gateway: Gateway, browsers: tuple[requests.Session, requests.Session]
) -> None:
    def page(*names: str, cursor: str = "") -> bytes:
        result = {"tools": [{"name": each} for each in names], "cacheScope": "public"}
        result |= {"nextCursor": cursor} if cursor else {}
        return json.dumps({"jsonrpc": "2.0", "id": 7, "result": result}).encode()

    def read(text: str) -> tuple[list[str], Any, str]:
        result = json.loads(text)["result"]
        names = [each["name"] for each in result["tools"]]
        return names, result.get("nextCursor"), result["cacheScope"]

    member, client = browsers[0], Caller.allowed(gateway, "ruled")
    pages = [page(*TOOLS, cursor="b"), page("other", "search_b", cursor="c"), page("other")]
    expected = [(["search_a", "delete"], "b"), (["search_b"], "c"), ([], None)]
    for response, (names, cursor) in zip(pages, expected, strict=True):
        path = response_path(response).replace("read/", "ruled/")
        url = f"{gateway.url}/gateway/{path}"
        listing = message("tools/list", cursor="x")
        found = post(member, url, listing)
        assert read(found.text) == (names, cursor, "private")
        assert found.headers["Content-Length"] == str(len(found.content))
        seen = [each for each in names if each != "delete"]
        assert read(post(client, url, listing).text) == (seen, cursor, "private")
    stream = b"id: 4\ndata: " + pages[0] + b"\n\nid: 5\ndata: " + pages[1] + b"\n\n"
    path = response_path(stream, "text/event-stream").replace("read/", "ruled/")
    url = f"{gateway.url}/gateway/{path}"
    resumed = member.get(url, headers={"Last-Event-ID": "3"}, timeout=20).text
    for text in (resumed, post(member, url, message("tools/list")).text):
        lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        assert [read(line)[:2] for line in lines] == expected[:2]
        assert "other" not in text


@pytest.mark.parametrize("version", ["2025-11-25", NEW])
def test_other_methods_need_a_rule(
    gateway: Gateway, browsers: tuple[requests.Session, requests.Session], version: str
) -> None:
    """From 2026-07-28 an unknown method is a 404; before, that would end the session."""
    member, client = browsers[0], Caller.allowed(gateway, "ruled", "own")
    url = f"{gateway.url}/gateway/ruled/message"

    def ask(caller: requests.Session | Caller, method: str, **params: Any) -> Any:
        headers = {"MCP-Protocol-Version": version}
        if version == NEW:
            headers |= {"Mcp-Method": method}
            headers |= {"Mcp-Name": params["name"]} if "name" in params else {}
            params["_meta"] = META
        return outcome(post(caller, url, message(method, **params), headers=headers))

    unknown = (404 if version == NEW else 200, *UNKNOWN_METHOD[1:])
    assert ask(client, "tasks/get", taskId="1") == ALLOWED
    assert ask(client, "tasks/cancel", taskId="1") == unknown
    for method in ("tasks/get", "tasks/cancel", "new/method", "completion/complete", "Tools/Call"):
        assert ask(member, method, taskId="1") == unknown
    inputs = {"inputResponses": {"a": {"action": "accept"}}, "requestState": "s"}
    assert ask(member, "tools/call", name="search_a", **inputs) == ALLOWED
    assert ask(member, "tools/call", name="export", **inputs) == UNKNOWN_TOOL


def test_call_is_not_repeated_for_groups_that_were_not_asked_about(gateway: Gateway) -> None:
    """The upstream rejects the token, and the refreshed one has other groups."""
    url = f"{gateway.url}/gateway/ruled/guarded?token=token-of-the-person-2"
    sent = message("tools/call", name="search_a")
    with gateway.writer() as client:
        assert post(client, url, sent).status_code == 200
        before = gateway.state()["refused"]
        assert post(client, url, sent, headers={"X-Test-Refresh": "demoted"}).status_code == 401
        assert gateway.state()["refused"] == before + 1


def test_hangup_reads_the_rules_again_and_a_fault_changes_nothing(
    gateway: Gateway, browsers: tuple[requests.Session, requests.Session]
) -> None:
    path = gateway.log.with_name("rules.toml")
    assert path.read_text(encoding="utf-8") == RULES

    def reload(text: str, logged: str) -> None:
        before = gateway.log.read_text(encoding="utf-8").count(logged)
        path.write_text(text, encoding="utf-8")
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: gateway.log.read_text(encoding="utf-8").count(logged) > before, logged)

    try:
        reload(RULES.replace("delete", "export"), "Rules in force: notes ")
        assert try_tools(browsers[0], gateway, "ruled") == ["search_a", "export"]
        assert try_tools(browsers[0], gateway, "notes") == ["search_a", "export"]
        fault = f"UPSTREAM_RULED_POLICY_FILE: {path}: Line 6: the action must be"
        reload(RULES.replace('"deny"', '"denied"'), fault)
        assert try_tools(browsers[0], gateway, "ruled") == ["search_a", "export"]
        half = RULES[: RULES.index("groups")]
        reload(half, f"UPSTREAM_RULED_POLICY_FILE: {path}: Line 1 allows every caller everything.")
        assert try_tools(browsers[0], gateway, "ruled") == TOOLS
    finally:
        reload(RULES, "Rules in force: notes ")
    assert try_tools(browsers[0], gateway, "ruled") == ["search_a", "delete"]
