"""The events of calls, of a gateway in a separate process; and calls without room for an event."""

import hashlib
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway_site.audit.event import parse_time
from gateway_site.audit.exposure import find_exposed
from gateway_site.audit.verification import find_faults, read_log
from tests.gateway_site.support.gateways import RULES, Gateway, running_gateway
from tests.support.waiting import wait_until

KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
SECRETS = ("secret-of-the-query", "secret-of-the-body", "token-of-the-person")
pytestmark = pytest.mark.long
Find = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Gateway]:
    variables = {
        "AUDIT_FILE": str(folder / "audit.jsonl"),
        "AUDIT_KEY_ARN": KEY,
        "AUDIT_LOG": "1",
    }
    with running_gateway(tmp_path_factory.mktemp("gateway"), variables=variables) as gateway:
        yield gateway


@pytest.fixture
def find(folder: Path) -> Find:
    """Return a function that waits for events with a request's id, or with other members."""

    def matching(members: dict[str, Any]) -> list[dict[str, Any]]:
        lines = (folder / "audit.jsonl").read_bytes().splitlines()
        events = [json.loads(line) for line in lines]
        return [each for each in events if members.items() <= each.items()]

    def find_events(count: int = 1, **members: Any) -> list[dict[str, Any]]:
        wait_until(lambda: len(matching(members)) >= count, f"{count} events with {members}")
        return matching(members)

    return find_events


def id_of(response: requests.Response) -> str:
    return response.headers["X-Request-ID"]


def test_call_is_one_event_without_what_it_said(gateway: Gateway, find: Find) -> None:
    with gateway.writer() as client:
        response = client.post(
            f"{gateway.url}/gateway/echo/anything?key=secret-of-the-query",
            data="secret-of-the-body",
            headers={"Mcp-Method": "tools/call", "Mcp-Name": "delete_all"},
            timeout=20,
        )
    assert response.status_code == 200
    [event] = find(event="call", request=id_of(response))
    outcome = [event[name] for name in ("event", "upstream", "decision", "status", "code")]
    assert outcome == ["call", "echo", "allowed", 200, None]
    assert event["bytes"] == len(response.content)
    assert event["person"].isdecimal()
    # Nobody has read the message: its headers may lie.
    claim = [event[name] for name in ("method", "tool", "claimed", "rule", "policy")]
    assert claim == ["tools/call", "delete_all", True, None, None]


def test_message_that_was_read_is_described_by_what_it_says(gateway: Gateway, find: Find) -> None:
    params = {"name": "search", "arguments": {"q": SECRETS[1]}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    with gateway.writer() as client:
        response = client.post(f"{gateway.url}/gateway/read/x", json=message, timeout=20)
    [event] = find(event="call", request=id_of(response))
    assert (event["method"], event["tool"], event["claimed"]) == ("tools/call", "search", False)


def test_large_message_that_is_not_read_has_no_tool(gateway: Gateway, find: Find) -> None:
    """Nor is there a claimed one."""
    params = {"name": "look", "arguments": {"q": SECRETS[1] * 999}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    with gateway.writer() as client:
        for _ in range(4):
            url, named = f"{gateway.url}/gateway/rated/message", {"Mcp-Name": "look"}
            response = client.post(url, json=message, headers=named, timeout=20)
    [event] = find(event="call", request=id_of(response))
    assert (event["code"], event["decision"]) == ("rate_exceeded", "rejected")
    assert (event["method"], event["tool"], event["claimed"]) == (None, None, False)


@pytest.mark.parametrize(
    ("tool", "rule", "decision"),
    [("search_a", "line 1", "allowed"), ("export", None, "rejected")],
)
def test_event_has_the_rule_that_decided_and_the_digest_of_all(
    gateway: Gateway, find: Find, tool: str, rule: str | None, decision: str
) -> None:
    """A denied call is an error in a 200, as for an unknown tool."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}
    with gateway.writer() as client:
        response = client.post(f"{gateway.url}/gateway/ruled/message", json=message, timeout=20)
    [event] = find(event="call", request=id_of(response))
    assert (event["status"], event["decision"], event["rule"]) == (200, decision, rule)
    assert event["code"] == (None if rule else "denied")
    assert event["policy"] == hashlib.sha256(RULES.encode()).hexdigest()
    assert (event["tool"], event["claimed"]) == (tool, False)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("echo/signed-out", (401, "signed_out", "rejected")),
        ("narrow/admin", (404, "unknown_path", "rejected")),
        ("nowhere/x", (404, "unknown_upstream", "rejected")),
        ("other/x", (401, "not_connected", "rejected")),
        ("dead/x", (502, "upstream_failed", "failed")),
    ],
)
def test_rejected_call_is_an_event_too(
    gateway: Gateway, find: Find, path: str, expected: tuple[int, str, str]
) -> None:
    with gateway.client() as client:
        if path.endswith("signed-out"):
            client.cookies.clear()
        response = client.get(f"{gateway.url}/gateway/{path}", timeout=20)
    [event] = find(event="call", request=id_of(response))
    assert (event["status"], event["code"], event["decision"]) == expected
    assert response.status_code == event["status"]
    name = path.partition("/")[0]
    assert event["upstream"] == (None if name == "nowhere" else name)


def test_stream_is_an_event_at_its_start_and_at_its_end(gateway: Gateway, find: Find) -> None:
    with (
        gateway.client() as client,
        client.get(
            f"{gateway.url}/gateway/echo/events?count=2", stream=True, timeout=10
        ) as response,
    ):
        next(response.iter_lines(chunk_size=1))
        [begun] = find(event="call", request=id_of(response))
        assert (begun["event"], begun["stream"], begun["bytes"]) == ("call", True, 0)
    begun, ended = find(2, stream=True, request=id_of(response))
    assert (ended["event"], ended["stream"]) == ("stream_ended", True)
    assert ended["bytes"] > 0
    assert ended["person"] == begun["person"]


def test_call_that_the_upstream_has_received_is_never_rejected(
    gateway: Gateway, find: Find
) -> None:
    """The session ends meanwhile, and the caller gets a 401."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search_a"}}
    before = gateway.state().get("/hang", 0)
    with gateway.writer(1) as client, ThreadPoolExecutor() as pool:
        url = f"{gateway.url}/gateway/ruled/hang"
        call = pool.submit(client.post, url, json=message, timeout=60)
        wait_until(lambda: gateway.state().get("/hang", 0) > before, "the upstream has the call")
        gateway.control(f"end/{gateway.keys[1]}")
        gateway.control("staff/1")  # saves the user, so that the session is looked at again
        response = call.result()
    assert response.headers["X-Gateway-Problem"] == "signed_out"
    [event] = find(event="call", request=id_of(response))
    assert (event["decision"], event["code"], event["status"]) == ("allowed", "signed_out", 401)


def test_call_whose_client_left_before_it_was_sent_is_abandoned(
    gateway: Gateway, find: Find
) -> None:
    """Its headers name a tool that the rules deny; nobody has decided about it."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"export"}'
    with gateway.writer() as client:
        url = f"{gateway.url}/gateway/ruled/message"
        prepared = client.prepare_request(requests.Request("POST", url, data=body))
    headers = dict(prepared.headers)
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(body) + 1)}
    headers |= {"Host": f"127.0.0.1:{gateway.port}", "Mcp-Name": "export"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    before = gateway.state().get("/message", 0)
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        request = f"POST /gateway/ruled/message HTTP/1.1\r\n{head}\r\n".encode() + body
        connection.sendall(request)
    [event] = find(event="call", tool="export", status=None)
    assert (event["decision"], event["claimed"]) == ("abandoned", True)
    assert gateway.state().get("/message", 0) == before


def test_session_is_opened_once_for_all_its_calls(
    gateway: Gateway, folder: Path, find: Find
) -> None:
    for _ in range(3):
        last = gateway.get("echo/anything")
    [event] = find(event="call", request=id_of(last))
    moment = parse_time(event["time"])
    exposed = find_exposed([folder / "audit.jsonl"], moment - 1, moment + 1)
    assert {each.person for each in exposed} >= {event["person"]}
    assert find_exposed([folder / "audit.jsonl"], moment - 9_000, moment - 8_000) == []
    sessions = [each["session"] for each in find(event="opened", person=event["person"])]
    assert len(sessions) == len(set(sessions))
    index = requests.get(f"{gateway.url}/gateway/", timeout=20)
    assert index.status_code == 401, "the list of upstreams is no call"


def test_log_is_a_chain_without_secrets(gateway: Gateway, folder: Path, find: Find) -> None:
    with gateway.client() as client:
        last = client.get(f"{gateway.url}/gateway/echo/x?{SECRETS[0]}", timeout=20)
    find(event="call", request=id_of(last))
    [program] = find(event="started")
    assert program["process"] == gateway.process.pid
    assert list(find_faults(read_log([folder / "audit.jsonl"]))) == []
    log = gateway.read_log()
    text = (folder / "audit.jsonl").read_text() + log
    assert '"event":"opened"' in log
    shown = [each for each in (*SECRETS, *gateway.keys) if each in text]
    assert shown == []


def test_calls_are_rejected_and_none_is_missing_while_the_file_cannot_be_written(
    gateway: Gateway, folder: Path, find: Find
) -> None:
    before = gateway.get("echo/anything")
    find(event="call", request=id_of(before))
    moved = folder.with_name("moved")
    folder.rename(moved)
    folder.write_text("a file, in which nothing can be created")
    try:
        made = gateway.get("echo/anything")  # nobody knows yet; its event is kept
        assert made.status_code == 200
        wait_until(lambda: gateway.get("echo/anything").status_code == 503, "calls are rejected")
        served = gateway.state()["calls"]
        rejected = gateway.get("echo/anything")
        assert rejected.headers["X-Gateway-Problem"] == "audit_unavailable"
        assert rejected.headers["Retry-After"]
        assert gateway.state()["calls"] == served, "a call was made that is in no log"
        assert requests.get(f"{gateway.url}/accounts/login/", timeout=20).status_code == 200
    finally:
        folder.unlink()
        shutil.move(moved, folder)
    wait_until(lambda: gateway.get("echo/anything").status_code == 200, "calls are made again")
    find(event="call", request=id_of(made))
    [event] = find(event="call", request=id_of(rejected))
    assert (event["status"], event["decision"]) == (503, "rejected")
    assert list(find_faults(read_log([folder / "audit.jsonl"]))) == []
