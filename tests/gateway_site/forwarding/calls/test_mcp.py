"""An MCP server of the official SDK as an upstream, its real client with a session cookie."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
from pytest_django import Settings

from gateway_site.policy.pinned_tools import load_pins
from tests.gateway_site.support.declared_upstreams import read_api
from tests.gateway_site.support.gateways import TOKEN, Gateway
from tests.gateway_site.support.mcp_clients import connected_client, text_of
from tests.sessions_kms.support.commands import run


def seen_requests(gateway: Gateway) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{gateway.mcp_port}/_seen"
    found: list[dict[str, Any]] = requests.get(url, timeout=10).json()
    return found


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_tools_are_called_with_the_token(tools: Gateway, mode: str) -> None:
    async with connected_client(tools, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {"whoami", "count", "interrupted"}
        assert text_of(await client.call_tool("whoami")) == f"Bearer {TOKEN}"
    for request in seen_requests(tools):
        assert request["headers"]["authorization"] == f"Bearer {TOKEN}"
        assert "cookie" not in request["headers"]
        assert "origin" not in request["headers"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_progress_arrives_while_the_tool_works(tools: Gateway, mode: str) -> None:
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connected_client(tools, mode) as client:
        result = await client.call_tool("count", {"to": 3}, progress_callback=note)
    assert text_of(result) == "counted to 3"
    assert steps == [1, 2, 3]


async def test_session_is_kept_listened_to_and_ended(tools: Gateway) -> None:
    before = len(seen_requests(tools))
    async with connected_client(tools, "legacy") as client:
        await client.call_tool("whoami")
    requests_ = seen_requests(tools)[before:]
    assert {"POST", "GET", "DELETE"} == {request["method"] for request in requests_}
    sessions = {request["headers"].get("mcp-session-id") for request in requests_[1:]}
    assert len(sessions) == 1
    assert None not in sessions
    versions = {request["headers"].get("mcp-protocol-version") for request in requests_[1:]}
    assert len(versions) == 1
    assert None not in versions


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_client_notices_nothing_where_its_messages_are_read(
    tools: Gateway, mode: str
) -> None:
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connected_client(tools, mode, "readtools") as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {"whoami", "count", "interrupted"}
        result = await client.call_tool("count", {"to": 3}, progress_callback=note)
        assert (text_of(result), steps) == ("counted to 3", [1, 2, 3])
        if mode == "legacy":
            assert text_of(await client.call_tool("interrupted")) == "resumed"


def test_tools_are_pinned_as_the_server_lists_them_in_both_versions(
    tools: Gateway, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pins.json"
    variables = {"URL": f"http://127.0.0.1:{tools.mcp_port}/mcp", "TOOLS_PINNED": str(path)}
    settings.UPSTREAMS = {"api": read_api(**variables)}
    monkeypatch.setenv("PINNING_TOKEN", TOKEN)
    command = ("pin_tools", "api", "--token-env", "PINNING_TOKEN")
    written = run(*command, "--write", "--json")
    assert written.status == 0, written.err
    assert written.json["versions"] == ["2026-07-28", "2025-11-25"]
    assert load_pins(path).digests.keys() == {"whoami", "count", "interrupted"}
    again = run(*command)
    assert (again.status, "0 new, 0 gone, 0 changed, 3 as pinned." in again.out) == (0, True)


async def test_interrupted_stream_is_resumed_by_its_last_event(tools: Gateway) -> None:
    before = len(seen_requests(tools))
    async with connected_client(tools, "legacy") as client:
        assert text_of(await client.call_tool("interrupted")) == "resumed"
    assert any(
        request["method"] == "GET" and "last-event-id" in request["headers"]
        for request in seen_requests(tools)[before:]
    )


async def test_client_without_the_csrf_token_is_refused(tools: Gateway) -> None:
    before = len(seen_requests(tools))
    cookies = {"gateway_sessionid": tools.keys[0]}
    async with httpx2.AsyncClient(cookies=cookies, timeout=20) as http:
        response = await http.post(f"{tools.url}/gateway/tools", json={"jsonrpc": "2.0"})
    assert response.status_code == 403
    assert len(seen_requests(tools)) == before
