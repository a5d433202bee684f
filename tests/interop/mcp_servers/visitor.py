"""A person without a browser who connects MCP servers, and calls them with the cookie."""

import json
import re
from collections.abc import Iterator
from html import unescape
from itertools import count
from typing import Any

import requests

from tests.e2e.signing_in import sign_in_by_requests
from tests.e2e.stack import LocalStack
from tests.interop.mcp_servers.servers import McpServer
from tests.local.form import submit
from tests.oauth.support.accepting import INITIALIZE

TIMEOUT = 30  # seconds
PAGES_MAX = 12  # of one connection
# The page that leads to the authorization server does so by itself: a policy for forms would apply
# to the redirects after it.
ONWARD = re.compile(r'<meta http-equiv="refresh" content="0; url=([^"]*)">')
RESPONSES = {"login": "ada", "password": "any", "action": "approve"}  # on the servers' pages


class Visitor:
    """One person's cookies, at the gateway and at the servers."""

    def __init__(self, stack: LocalStack, person: str = "ada") -> None:
        self.stack = stack
        self.client = sign_in_by_requests(stack, person)

    def connect(self, server: McpServer) -> requests.Response:
        """Connect a server, allow everything there, and return; give the last page."""
        return self.proceed(self.start(server))

    def start(self, server: McpServer) -> requests.Response:
        """Say at the gateway to connect a server; give the page that leads there."""
        page = self.get(f"/accounts/connect/{server.name}/")
        return submit(self.client, page, follow=True, timeout=TIMEOUT)

    def proceed(self, page: requests.Response) -> requests.Response:
        """Allow everything on the servers' pages until one of the gateway needs a response."""
        for _ in range(PAGES_MAX):
            assert page.ok, page.text
            if onward := ONWARD.search(page.text):
                page = self.client.get(unescape(onward[1]), timeout=TIMEOUT)
            elif page.url.startswith(self.stack.url):
                return page
            else:
                page = submit(self.client, page, follow=True, timeout=TIMEOUT, **RESPONSES)
        raise AssertionError(f"Too many pages; the last one is {page.url}")

    def disconnect(self, server: McpServer) -> requests.Response:
        page = self.get(f"/accounts/connect/{server.name}/disconnect/")
        return submit(self.client, page, follow=True, timeout=TIMEOUT)

    def sign_out(self) -> requests.Response:
        return submit(self.client, self.get("/accounts/logout/"), follow=True, timeout=TIMEOUT)

    def get(self, path: str) -> requests.Response:
        return self.client.get(self.stack.url + path, timeout=TIMEOUT)

    def initialize(self, server: McpServer) -> requests.Response:
        """Begin with the server through the gateway; give the response, which may be an error."""
        return self._post(server, INITIALIZE)

    def call(self, server: McpServer, tool: str, arguments: dict[str, Any] | None = None) -> str:
        """Return the text of a tool's response."""
        response = self.post_tool(server, tool, arguments)
        assert response.status_code == 200, response.text
        (result,) = (each["result"] for each in _messages(response) if "result" in each)
        text: str = result["content"][0]["text"]
        return text

    def post_tool(
        self, server: McpServer, tool: str, arguments: dict[str, Any] | None = None
    ) -> requests.Response:
        """Call a tool; give the response, which may be an error."""
        session = self.initialize(server)
        assert session.status_code == 200, session.text
        headers = {"MCP-Protocol-Version": "2025-11-25"}
        if kept := session.headers.get("Mcp-Session-Id"):
            headers["Mcp-Session-Id"] = kept
        self._post(server, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
        given = {"name": tool, "arguments": arguments or {}}
        return self._post(server, _request("tools/call", given), headers)

    def token(self, server: McpServer) -> str:
        """Return the access token that the server gets for this person."""
        token: str = json.loads(self.call(server, "whoami"))["whole"]
        return token

    def _post(
        self, server: McpServer, message: dict[str, Any], headers: dict[str, str] | None = None
    ) -> requests.Response:
        told = self.get("/gateway/").json()
        given = {
            "Accept": "application/json, text/event-stream",
            "Sec-Fetch-Site": "same-origin",
            told["csrf_header"]: told["csrf_token"],
            **(headers or {}),
        }
        url = f"{self.stack.url}/gateway/{server.name}"
        return self.client.post(url, json=message, headers=given, timeout=TIMEOUT)


_ids = count(2)


def _request(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": parameters}


def _messages(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Give the messages of a response, which is JSON or an event stream."""
    if response.headers["Content-Type"].startswith("application/json"):
        yield response.json()
        return
    for line in response.text.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))
