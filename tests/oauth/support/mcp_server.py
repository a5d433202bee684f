"""An MCP server, and its authorization server; nobody registered a client there.

Both are strict where OAuth 2.1 and MCP are, and a test can make them hostile.
"""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from oauth.mcp.discovery import Discovered
from tests.oauth.support.fake_provider import JSON, FakeProvider, Response, serving
from tests.oauth.support.registering import discovered_at


@dataclass
class AuthorizationServer(FakeProvider):
    """Registers every client that asks; codes and tokens are for one resource.

    ``change`` alters each response to a registration before the client exists. ``forms`` are those
    that the token endpoint got.
    """

    scope: str | None = None
    supports_par: bool = True
    states_issuer: bool = True  # whether it announces and sends `iss`
    more_of_response: dict[str, str] = field(default_factory=dict)
    registrations: list[dict[str, Any]] = field(default_factory=list)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict
    unknown_client: tuple[int, str] = (401, "invalid_client")
    unknown_code: tuple[int, str] = (400, "invalid_grant")
    forms: list[dict[str, str]] = field(default_factory=list)
    revocations: list[dict[str, str]] = field(default_factory=list)
    gives_id_token: bool = False

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "registration_endpoint": f"{self.issuer}/register",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": self.states_issuer,
            "pushed_authorization_request_endpoint": f"{self.issuer}/par",
            "require_pushed_authorization_requests": self.requires_par,
        } | self.more_of_metadata

    def find(self, **changes: Any) -> Discovered:
        """Return what discovery would find."""
        return discovered_at(self.issuer, **changes)

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if path == "/.well-known/oauth-authorization-server":
            return 200, JSON, json.dumps(self.metadata()).encode()
        if path == "/register":
            return self.register(json.loads(self.request.body))
        if path == "/revoke":
            return self.revoke(parameters)
        return 404, "text/plain", b""

    def register(self, content: dict[str, Any]) -> Response:
        with self._lock:
            self.registrations.append(content)
            client_id = f"client-{len(self.registrations)}"
            response = {**content, "client_id": client_id, "client_id_issued_at": 1}
            if content["token_endpoint_auth_method"] != "none":
                secret = {"client_secret": f"secret of {client_id}", "client_secret_expires_at": 0}
                response |= secret
            response = self.change(response)
            self.clients[str(response.get("client_id"))] = response
        return 201, JSON, json.dumps(response).encode()

    def _may_authorize(self, query: dict[str, str]) -> bool:
        client = self.clients.get(query.get("client_id", ""))
        return (
            client is not None
            and query.get("redirect_uri") in client["redirect_uris"]
            and query.get("code_challenge_method") == "S256"
            and len(query.get("code_challenge", "")) == 43
            and bool(query.get("resource"))
            and bool(query.get("state"))
        )

    def _back(self, query: dict[str, str], parameters: dict[str, str]) -> str:
        iss = {"iss": self.issuer} if self.states_issuer else {}
        return super()._back(query, parameters | iss | self.more_of_response)

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        self.forms.append(form)
        response = super().token(form, authorization, github=github)
        if response[0] == 200:
            return response
        is_client = self._authenticated(form, authorization)
        status, error = self.unknown_code if is_client else self.unknown_client
        return status, JSON, json.dumps({"error": error}).encode()

    def _authenticated(self, form: dict[str, str], authorization: str) -> bool:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization:
            decoded = base64.b64decode(authorization.partition(" ")[2]).decode()
            client_id, secret = (unquote_plus(each) for each in decoded.split(":"))
        client = self.clients.get(client_id)
        return client is not None and secret == client.get("client_secret", "")

    def _may_exchange(self, form: dict[str, str], asked: dict[str, str]) -> bool:
        same = all(form.get(name) == asked.get(name) for name in ("client_id", "resource"))
        return same and super()._may_exchange(form, asked)

    def token_response(self, *, github: bool = False, nonce: str | None = None) -> dict[str, Any]:
        response = super().token_response(github=github, nonce=nonce)
        if not self.gives_id_token:
            response.pop("id_token")
        return response

    def revoke(self, form: dict[str, str]) -> Response:
        self.revocations.append(form)
        self.refresh_tokens.discard(form.get("token", ""))
        self.people_of_tokens.pop(form.get("token", ""), None)
        return 200, JSON, b"{}"


@dataclass
class McpResource(FakeProvider):
    """The MCP server. ``authorization`` is its authorization server, ``scopes`` what it demands.

    The authorization server has the same origin, unless it is served elsewhere.
    """

    authorization: AuthorizationServer = field(default_factory=AuthorizationServer)
    scopes: tuple[str, ...] = ()
    more_of_document: dict[str, Any] = field(default_factory=dict)
    demanded: str | None = None  # the scope of a 403 to every call
    calls: list[str] = field(default_factory=list)  # the tokens of the calls

    @property
    def url(self) -> str:
        return f"{self.issuer}/mcp"

    def respond(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if path.rstrip("/") == "/mcp" or path.startswith("/.well-known/oauth-protected-resource"):
            return super().respond(path, parameters, authorization)
        return self.authorization.respond(path, parameters, authorization)

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if path == "/.well-known/oauth-protected-resource/mcp":
            content = {
                "resource": self.url,
                "authorization_servers": [self.authorization.issuer],
            } | self.more_of_document
            return 200, JSON, json.dumps(content).encode()
        if path.rstrip("/") != "/mcp":
            return 404, "text/plain", b""
        token = authorization.removeprefix("Bearer ")
        if token not in self.authorization.people_of_tokens:
            return self._challenge(401, "invalid_token", " ".join(self.scopes))
        self.calls.append(token)
        if self.demanded is not None:
            return self._challenge(403, "insufficient_scope", self.demanded)
        return 200, JSON, b'{"jsonrpc": "2.0"}'

    def _challenge(self, status: int, error: str, scope: str) -> Response:
        document = f"{self.issuer}/.well-known/oauth-protected-resource/mcp"
        challenge = f'Bearer resource_metadata="{document}", error="{error}"'
        challenge += f', scope="{scope}"' if scope else ""
        self.request.more = {"WWW-Authenticate": challenge}
        return status, JSON, b"{}"


@contextmanager
def serving_mcp() -> Iterator[McpResource]:
    """Serve an MCP server and its authorization server, at one origin."""
    with serving(McpResource) as resource:
        resource.authorization.issuer = resource.issuer
        resource.authorization.request = resource.request
        yield resource


@contextmanager
def serving_mcp_with_issuer_elsewhere() -> Iterator[McpResource]:
    """Serve an MCP server and its authorization server, each on a port of its own."""
    with serving_mcp() as resource, serving(AuthorizationServer) as authorization:
        resource.authorization = authorization
        yield resource
