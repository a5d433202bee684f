"""An MCP server, and its authorization server; nobody registered a client there.

Both are strict where OAuth 2.1 and MCP are, and a test can make them hostile.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.oauth.support.fake_provider import Answer, FakeProvider, serving


@dataclass
class AuthorizationServer(FakeProvider):
    """Registers every client that asks, as a public one; codes and tokens are for one resource."""

    scope: str | None = None
    states_issuer: bool = True  # whether it announces and sends `iss`
    more_of_answer: dict[str, str] = field(default_factory=dict)
    registrations: list[dict[str, Any]] = field(default_factory=list)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)  # of the token endpoint
    revocations: list[dict[str, str]] = field(default_factory=list)
    gives_id_token: bool = False
    requires_par: bool = False
    pushed: dict[str, dict[str, str]] = field(default_factory=dict)  # by `request_uri`, used once

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

    def answer(self, path: str, parameters: dict[str, str], authorization: str) -> Answer:
        if path == "/.well-known/oauth-authorization-server":
            return 200, "application/json", json.dumps(self.metadata()).encode()
        if path == "/register":
            return self.register(json.loads(self.request.body))
        if path == "/revoke":
            return self.revoke(parameters)
        if path == "/par":
            return self.push(parameters)
        return 404, "text/plain", b""

    def register(self, content: dict[str, Any]) -> Answer:
        self.registrations.append(content)
        client_id = f"client-{len(self.registrations)}"
        self.clients[client_id] = content
        return 201, "application/json", json.dumps({**content, "client_id": client_id}).encode()

    def push(self, form: dict[str, str]) -> Answer:
        """Take a pushed request (RFC 9126 section 2)."""
        if form.get("client_id") not in self.clients or "request_uri" in form:
            return 401, "application/json", b'{"error": "invalid_client"}'
        reference = f"urn:ietf:params:oauth:request_uri:{self._secret()}"
        self.pushed[reference] = form
        content = {"request_uri": reference, "expires_in": 60}
        return 201, "application/json", json.dumps(content).encode()

    def authorize(self, query: dict[str, str]) -> Answer:
        self.authorizations.append(query)
        if self.requires_par:
            pushed = self.pushed.pop(query.get("request_uri", ""), {})
            if query.keys() != {"client_id", "request_uri"}:
                return 400, "text/plain", b"not pushed"
            query = pushed if pushed.get("client_id") == query["client_id"] else {}
        client = self.clients.get(query.get("client_id", ""))
        is_right = (
            client is not None
            and query.get("redirect_uri") in client["redirect_uris"]
            and query.get("code_challenge_method") == "S256"
            and len(query.get("code_challenge", "")) == 43
            and query.get("resource")
            and query.get("state")
        )
        if not is_right:
            return 400, "text/plain", b"refused"
        code = self._secret()
        self.codes[code] = query
        return 302, self._back(query, {"code": code}), b""

    def refuse(self, url: str, error: str) -> str:
        """Act as a browser whose person does not allow it; return the URL of the redirect back."""
        return self._back(dict(parse_qsl(urlsplit(url).query)), {"error": error})

    def _back(self, query: dict[str, str], parameters: dict[str, str]) -> str:
        iss = {"iss": self.issuer} if self.states_issuer else {}
        response = {**parameters, "state": query["state"], **iss, **self.more_of_answer}
        return f"{query['redirect_uri']}?{urlencode(response)}"

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Answer:
        self.forms.append(form)
        if form.get("client_id") not in self.clients or "client_secret" in form:
            return 401, "application/json", b'{"error": "invalid_client"}'
        return super().token(form, authorization, github=github)

    def _authenticated(self, form: dict[str, str], authorization: str) -> bool:
        return not authorization

    def _may_exchange(self, form: dict[str, str], asked: dict[str, str]) -> bool:
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        same = all(
            form.get(name) == asked.get(name) for name in ("client_id", "redirect_uri", "resource")
        )
        return same and challenge == asked.get("code_challenge")

    def token_response(self, *, github: bool = False, nonce: str | None = None) -> dict[str, Any]:
        response = super().token_response(github=github, nonce=nonce)
        if not self.gives_id_token:
            response.pop("id_token")
        return response

    def revoke(self, form: dict[str, str]) -> Answer:
        self.revocations.append(form)
        self.refresh_tokens.discard(form.get("token", ""))
        self.people_of_tokens.pop(form.get("token", ""), None)
        return 200, "application/json", b"{}"


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

    def respond(self, path: str, parameters: dict[str, str], authorization: str) -> Answer:
        if path.rstrip("/") == "/mcp" or path.startswith("/.well-known/oauth-protected-resource"):
            return super().respond(path, parameters, authorization)
        return self.authorization.respond(path, parameters, authorization)

    def answer(self, path: str, parameters: dict[str, str], authorization: str) -> Answer:
        if path == "/.well-known/oauth-protected-resource/mcp":
            content = {
                "resource": self.url,
                "authorization_servers": [self.authorization.issuer],
            } | self.more_of_document
            return 200, "application/json", json.dumps(content).encode()
        if path.rstrip("/") != "/mcp":
            return 404, "text/plain", b""
        token = authorization.removeprefix("Bearer ")
        if token not in self.authorization.people_of_tokens:
            return self._challenge(401, "invalid_token", " ".join(self.scopes))
        self.calls.append(token)
        if self.demanded is not None:
            return self._challenge(403, "insufficient_scope", self.demanded)
        return 200, "application/json", b'{"jsonrpc": "2.0"}'

    def _challenge(self, status: int, error: str, scope: str) -> Answer:
        document = f"{self.issuer}/.well-known/oauth-protected-resource/mcp"
        challenge = f'Bearer resource_metadata="{document}", error="{error}"'
        challenge += f', scope="{scope}"' if scope else ""
        self.request.more = {"WWW-Authenticate": challenge}
        return status, "application/json", b"{}"


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
