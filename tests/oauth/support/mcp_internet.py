"""An MCP server and its authorization server on the test's own internet, honest by default.

Both are behind one server of the standard library, with real TLS. A test replaces documents, and
sees what was requested and which addresses were connected to.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.mcp import resource_metadata
from oauth.mcp.discovery import Discovered, accept, inspect
from oauth.mcp.servers import McpServer, find_server
from oauth.network import http
from oauth.provider import metadata
from tests.oauth.support.hostile import ADDRESS, ANOTHER_ADDRESS, Internet, certificates
from tests.sessions_kms.support.stacks import Stack
from tests.support.http_server import QuietHandler, TlsServer, serve

MCP_HOST, LOGIN_HOST, EVIL_HOST = "mcp.notes.example", "login.notes.example", "evil.example"
EVIL = f"https://{EVIL_HOST}"
EVIL_ADDRESS = "93.184.215.16"
URL, ISSUER = f"https://{MCP_HOST}/team/mcp", f"https://{LOGIN_HOST}"
RESOURCE_PATH = "/.well-known/oauth-protected-resource"
WITH_PATH = f"{RESOURCE_PATH}/team/mcp"
SERVER_PATH = "/.well-known/oauth-authorization-server"
OPENID_PATH = "/.well-known/openid-configuration"
Response = tuple[int, dict[str, str], bytes]


def document(content: object, status: int = 200, media_type: str = "application/json") -> Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return status, {"Content-Type": media_type}, body


class Site:
    """A host that answers each path as configured, and others with 404."""

    def __init__(self, host: str) -> None:
        self.origin = f"https://{host}"
        self.responses: dict[str, Callable[[], Response]] = {}
        self.requests: list[str] = []  # the path of each, without HEAD

    def put(self, path: str, response: Response) -> None:
        self.responses[path] = lambda: response

    def respond(self, method: str, path: str) -> Response:
        if method != "HEAD":
            self.requests.append(path)
        return self.responses[path]() if path in self.responses else (404, {}, b"")


class _Handler(QuietHandler):
    sites: dict[str, Site]

    def do_GET(self) -> None:
        self.read_body()
        site = self.sites[self.headers["Host"].removesuffix(":443")]
        status, headers, body = site.respond(self.command, self.path)
        self.respond(status, body, headers=headers)

    do_HEAD = do_POST = do_GET


class World:
    """The MCP server `notes`, its authorization server, and a host of somebody else.

    The authorization server is elsewhere, or has the MCP server's origin.
    """

    def __init__(self, internet: Internet, settings: Settings, *, is_elsewhere: bool) -> None:
        self.internet, self.settings = internet, settings
        self.mcp, self.evil = Site(MCP_HOST), Site(EVIL_HOST)
        self.login = Site(LOGIN_HOST) if is_elsewhere else self.mcp
        self.declare()
        self.challenge('Bearer realm="notes"')
        self.publish_resource()
        self.publish_server()

    def declare(self, **members: object) -> McpServer:
        """Declare the server in the settings."""
        self.settings.OAUTH_MCP_SERVERS = {"notes": {"url": URL} | members}
        return self.server

    @property
    def server(self) -> McpServer:
        found = find_server("notes")
        assert found is not None
        return found

    def challenge(self, header: str) -> None:
        """Answer a request without a token with this WWW-Authenticate."""
        self.mcp.put("/team/mcp", (401, {"WWW-Authenticate": header}, b""))

    def publish_resource(self, *, path: str = WITH_PATH, **members: object) -> None:
        found = {"resource": URL, "authorization_servers": [self.login.origin]} | members
        self.mcp.put(path, document(found))

    def publish_server(
        self, *, path: str = SERVER_PATH, issuer: str | None = None, **members: object
    ) -> None:
        issuer = issuer or self.login.origin
        site = self.evil if issuer.startswith(self.evil.origin) else self.login
        site.put(path, document(server_document(issuer) | members))

    def look(self) -> Discovered:
        """Discover the server as an operator does before accepting the issuer."""
        return inspect(self.server, ignore_pin=True)

    def failure(self) -> Code:
        """Return why the server cannot be used."""
        with pytest.raises((ProviderRefused, ProviderUnavailable)) as caught:
            self.look()
        assert isinstance(caught.value, ProviderRefused | ProviderUnavailable)
        return caught.value.code

    def accept(self) -> None:
        """Accept what is found, as `discover_upstream --accept` does."""
        assert accept(self.look())
        self.forget()

    def forget(self) -> None:
        """Start a new process, as far as cached documents matter."""
        resource_metadata._cache.clear()
        metadata.clear_metadata_cache()

    @property
    def requests(self) -> list[str]:
        sites = (self.mcp, self.login, self.evil)
        return [site.origin + path for site in sites for path in site.requests]


def server_document(issuer: str) -> dict[str, object]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "registration_endpoint": f"{issuer}/register",
        "revocation_endpoint": f"{issuer}/revoke",
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }


@pytest.fixture
def is_elsewhere() -> bool:
    return True


@pytest.fixture
def world(
    store: Stack,
    settings: Settings,
    internet: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_elsewhere: bool,
) -> Iterator[World]:
    """Serve the hosts with TLS at public addresses; a test overrides `is_elsewhere`."""
    made = World(internet, settings, is_elsewhere=is_elsewhere)
    trusted, context = certificates(tmp_path, MCP_HOST, LOGIN_HOST, EVIL_HOST)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    http._cached_tls_context.cache_clear()
    sites = {MCP_HOST: made.mcp, LOGIN_HOST: made.login, EVIL_HOST: made.evil}
    addresses = {MCP_HOST: ADDRESS, LOGIN_HOST: ANOTHER_ADDRESS, EVIL_HOST: EVIL_ADDRESS}
    handler = type("Handler", (_Handler,), {"sites": sites})
    with serve(TlsServer(handler, context)) as server:
        for host, address in addresses.items():
            internet.name(host, address)
            internet.servers[address, 443] = server.server_port
        yield made
    http._cached_tls_context.cache_clear()
