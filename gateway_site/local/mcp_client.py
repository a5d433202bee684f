"""An MCP client: signs in to the gateway in the browser, and calls a tool.

    python -m gateway_site.local.mcp_client http://127.0.0.1:8000/gateway/demo --tool whoami

The official SDK does the OAuth part: metadata, registration, PKCE, refresh. What it was given is
kept for the next run, in a file that only you can read, under $XDG_STATE_HOME or ~/.local/state.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import tempfile
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.auth.oauth2 import OAuthContext
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
)

URL = "http://127.0.0.1:8000/gateway/demo"
SIGN_IN_WITHIN = 600  # seconds; the gateway waits for a consent no longer
TIMEOUT = 60  # seconds without a byte of a response


def main() -> None:
    """Read the command line, call, and say in a line what went wrong."""
    parser = argparse.ArgumentParser(description="Sign in to the gateway, and call a tool.")
    parser.add_argument("url", nargs="?", default=URL, help=f"of the MCP server (default: {URL})")
    parser.add_argument("--tool", default="whoami", help="to call (default: whoami)")
    parser.add_argument("--arguments", type=json.loads, default={}, help="of the tool, as JSON")
    parser.add_argument("--list", action="store_true", help="list the tools instead")
    parser.add_argument("--legacy", action="store_true", help="speak as before 2026-07-28")
    parser.add_argument("--no-browser", action="store_true", help="only print where to sign in")
    options = parser.parse_args()
    try:
        asyncio.run(run(options))
    except* (OAuthFlowError, MCPError, OSError, httpx2.HTTPError) as group:
        sys.exit("\n".join(sorted({str(error) or repr(error) for error in leaves(group)})))
    except* KeyboardInterrupt:
        sys.exit(130)


async def run(options: argparse.Namespace) -> None:
    """Connect, signed in, and print what the tool answers."""
    kept = Kept(options.url)
    with Callback() as callback:
        auth = signing_in(options.url, kept, callback, opens=not options.no_browser)
        async with httpx2.AsyncClient(auth=auth, timeout=TIMEOUT) as http:
            transport = streamable_http_client(options.url, http_client=http)
            async with Client(transport, mode="legacy" if options.legacy else "auto") as client:
                if options.list:
                    await say_tools(client)
                    return
                result = await client.call_tool(
                    options.tool, options.arguments, progress_callback=tell_progress
                )
    for content in result.content:
        say(getattr(content, "text", f"({content.type})"))
    if result.is_error:
        sys.exit(1)


async def say_tools(client: Client) -> None:
    """Print the tools of all pages."""
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            say(f"{tool.name}: {tool.description}")
        if (cursor := page.next_cursor) is None:
            return


def signing_in(url: str, kept: "Kept", callback: "Callback", *, opens: bool) -> OAuthClientProvider:
    """Return what signs requests in, beginning with what an earlier run kept."""

    async def lead(address: str) -> None:
        print(f"Sign in at {address}", file=sys.stderr, flush=True)  # noqa: T201 -- for a person
        if opens:
            webbrowser.open(address)

    async def handle_callback() -> AuthorizationCodeResult:
        return await asyncio.to_thread(callback.wait)

    metadata = {"client_name": "Example client", "redirect_uris": [callback.url]}
    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata.model_validate(metadata),
        storage=kept,
        redirect_handler=lead,
        callback_handler=handle_callback,
    )
    kept.restore(auth.context)
    return auth


class Kept:
    """What the SDK keeps from run to run, in a file of mode 600; one for each server.

    The SDK asks for tokens and registration only. When the token ends and where it is refreshed are
    kept as well: without them the SDK would send the person to the browser again.
    """

    def __init__(self, url: str) -> None:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.path = Path(base) / "gateway-example" / f"{name}.json"
        try:
            self.content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self.content = {}

    def restore(self, context: OAuthContext) -> None:
        """Have a new context know what the last one knew."""
        self.context = context
        if "metadata" in self.content:
            context.oauth_metadata = OAuthMetadata.model_validate(self.content["metadata"])

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens; the SDK asks again where a refresh failed, and forgot their end."""
        self.context.token_expiry_time = self.content.get("expires_at")
        found = self.content.get("tokens")
        return OAuthToken.model_validate(found) if found else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.content["tokens"] = tokens.model_dump(mode="json", exclude_none=True)
        self.content["expires_at"] = time.time() + (tokens.expires_in or 0)
        if metadata := self.context.oauth_metadata:
            self.content["metadata"] = metadata.model_dump(mode="json", exclude_none=True)
        self.write()

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        found = self.content.get("client")
        return OAuthClientInformationFull.model_validate(found) if found else None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.content["client"] = client_info.model_dump(mode="json", exclude_none=True)
        self.write()

    def write(self) -> None:
        """Replace the file in one step: a program killed in between leaves the old one whole."""
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False) as file:
            json.dump(self.content, file)  # mkstemp made it 0600
        Path(file.name).replace(self.path)


class Callback(HTTPServer):
    """Where the browser comes back to: a port of this computer, of the system's choice."""

    timeout = 0.5  # seconds until it looks whether the program ends

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Back)
        self.url = f"http://127.0.0.1:{self.server_port}/callback"
        self.query: dict[str, str] = {}
        self.is_closed = False

    def server_close(self) -> None:
        """Close, and have a thread that waits for a response end."""
        self.is_closed = True
        super().server_close()

    def wait(self) -> AuthorizationCodeResult:
        """Wait until the browser brings a response. Raises OAuthFlowError when it brings none."""
        deadline = time.monotonic() + SIGN_IN_WITHIN
        self.query = {}
        while not self.is_closed and time.monotonic() < deadline:
            self.handle_request()
            if "error" in self.query:
                raise OAuthFlowError(f"The gateway says: {self.query['error']}")
            if "code" in self.query:
                return AuthorizationCodeResult.model_validate(self.query)
        raise OAuthFlowError("Nobody signed in.")


class Back(BaseHTTPRequestHandler):
    """Takes what the browser brings, and tells the person to go back."""

    server: Callback
    timeout = 10  # seconds for a browser that connects and says nothing

    def do_GET(self) -> None:
        """Answer with a page; the SDK compares `state` and `iss`."""
        address = urlsplit(self.path)
        found = address.path == "/callback"
        if found:
            self.server.query = dict(parse_qsl(address.query))
        content = b"<!doctype html><title>Done</title><p>Go back to the terminal."
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: the address holds the code."""


async def tell_progress(progress: float, total: float | None, message: str | None) -> None:
    say(message or f"{progress:g} of {total or '?'}")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- for a person


def leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """Return the errors of a group, and of the groups in it."""
    found = (
        leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
        for each in group.exceptions
    )
    return [error for errors in found for error in errors]


if __name__ == "__main__":
    main()
