"""The local MCP server as a process, and a provider with two tokens."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import ROOT
from tests.local.form import BROWSER_ACCEPT
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.processes import free_port, module, running

TOKEN = "of-the-provider-0123456789abcdef"
ANOTHER = "of-the-provider-too-0123456789ab"


class Userinfo(QuietHandler):
    """Returns Ada's userinfo for her tokens."""

    def do_GET(self) -> None:
        mine = [f"Bearer {token}" for token in (TOKEN, ANOTHER)]
        known = self.headers["Authorization"] in mine and self.path == "/userinfo"
        body = b'{"sub": "1", "name": "Ada"}'
        self.respond(200 if known else 401, body)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log: Path = tmp_path_factory.mktemp("mcp") / "log"
    with serve_handler(Userinfo) as issuer:
        port = free_port()
        options = ["--port", str(port), "demo", "--issuer", issuer, "--userinfo", "/userinfo"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        with running(module("gateway_site.local.mcp_servers", *options), environment, log, port):
            yield f"http://127.0.0.1:{port}/mcp"
    assert TOKEN not in log.read_text(encoding="utf-8")


def call(url: str, tool: str, token: str = TOKEN, **arguments: Any) -> requests.Response:
    """Call a tool like an old client without a session."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": {"progressToken": 1}},
    }
    accepted = "application/json, text/event-stream"
    headers = {"Authorization": f"Bearer {token}", "Accept": accepted}
    return requests.post(url, json=message, headers=headers, timeout=20)


def test_whoami_returns_the_caller_but_not_the_token(url: str) -> None:
    response = call(url, "whoami")
    assert response.status_code == 200, response.text
    assert "Ada" in response.text
    assert "the provider's, opaque" in response.text
    assert TOKEN not in response.text


@pytest.mark.parametrize("token", ["of-nobody", "", "gwa_" + "0" * 32])
def test_token_that_the_provider_does_not_know_is_answered_401(url: str, token: str) -> None:
    assert call(url, "whoami", token).status_code == 401


def test_each_step_is_streamed(url: str) -> None:
    response = call(url, "count", to=2)
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.text.count("notifications/progress") == 2
    assert "Counted to 2." in response.text


@pytest.mark.slow
def test_refuse_rejects_only_the_token_of_its_call(url: str) -> None:
    assert call(url, "refuse", ANOTHER).status_code == 200
    assert call(url, "whoami", ANOTHER).status_code == 401
    assert call(url, "whoami").status_code == 200


def test_browser_gets_a_page_that_ends_and_a_client_its_stream(url: str) -> None:
    authorization = {"Authorization": f"Bearer {TOKEN}"}
    for accepted, kind in (
        (BROWSER_ACCEPT, "text/html; charset=utf-8"),
        ("text/event-stream", "text/event-stream"),
        ("*/*", "text/event-stream"),
    ):
        headers = authorization | {"Accept": accepted}
        with requests.get(url, headers=headers, stream=True, timeout=20) as response:
            assert (response.status_code, response.headers["Content-Type"]) == (200, kind)
            assert accepted != BROWSER_ACCEPT or "apps that speak MCP" in response.text
    assert requests.get(url, headers={"Accept": "*/*"}, timeout=20).status_code == 401
