"""A small, strict provider over real HTTP (OpenID Connect and GitHub's dialect) that can fail.

Like a good provider, it rejects PKCE other than S256, another redirect URI, a used code and a wrong
secret. It issues tokens that a test can recognize. On request it also is as strict about pushed
requests as RFC 9126, and about DPoP as RFC 9449; then refresh tokens are bound to the key as well.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import jwt

from tests.oauth.support.dpop_checker import ProofChecker, Refused
from tests.support.http_server import QuietHandler, serve

Response = tuple[int, str, bytes]
CLIENT_ID = "gateway-client"
CLIENT_SECRET = "gateway-secret-canary"
JSON = "application/json"


@dataclass
class FakeProvider:
    """The state and behaviour of the provider; a test can change it between two requests."""

    issuer: str = ""
    client_id: str = CLIENT_ID
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "1001", "email": "ada@example.com", "name": "Ada Lovelace"}
    )
    scope: str | None = "openid profile email"
    expires_in: Any = 3600
    gives_refresh_token: bool = True
    more_of_token_response: dict[str, Any] = field(default_factory=dict)
    more_of_metadata: dict[str, Any] = field(default_factory=dict)
    more_of_userinfo: dict[str, Any] = field(default_factory=dict)
    more_of_id_token: dict[str, Any] = field(default_factory=dict)
    failing: dict[str, Callable[[], Response]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    people_of_tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    authorizations: list[dict[str, str]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=lambda: [CLIENT_SECRET])
    hooks: dict[str, Callable[[], None]] = field(default_factory=dict)  # run before the response
    auth_method: str = "client_secret_post"
    public_key: Any = None
    knows_pkce: bool = True  # otherwise it ignores the challenge
    assertions: list[dict[str, Any]] = field(default_factory=list)
    rotates: bool = True
    refresh_tokens: set[str] = field(default_factory=set)  # valid ones
    refreshes: list[str] = field(default_factory=list)  # refresh tokens in the order received
    _lock: threading.Lock = field(default_factory=threading.Lock)
    reused: bool = False  # a used one was sent again: the whole family is revoked
    clock: Callable[[], float] = time.time  # for its id tokens
    assertion_audience: str = ""  # empty: the issuer
    request: Any = field(default_factory=threading.local)  # other data of the thread's request
    supports_par: bool = False
    requires_par: bool = False
    pushes: list[dict[str, str]] = field(default_factory=list)
    pushed: dict[str, dict[str, str]] = field(default_factory=dict)  # by `request_uri`, used once
    requires_proofs: bool = False  # and issues tokens of the type DPoP
    sends_bearer: bool = False  # although it requires proofs
    bound_tokens: dict[str, str] = field(default_factory=dict)  # the thumbprints of their keys
    checker: ProofChecker = field(default_factory=ProofChecker)

    def metadata(self) -> dict[str, Any]:
        pushing = {
            "pushed_authorization_request_endpoint": f"{self.issuer}/par",
            "require_pushed_authorization_requests": self.requires_par,
        }
        more = pushing if self.supports_par else {}
        if self.requires_proofs:
            more["dpop_signing_alg_values_supported"] = ["ES256"]
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "token_endpoint_auth_methods_supported": [self.auth_method],
            **more,
        } | self.more_of_metadata

    def respond(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        """Respond to a request, unless it was configured to fail there."""
        if path in self.hooks:
            self.hooks[path]()
        if path in self.failing:
            return self.failing[path]()
        routes: dict[str, Callable[[], Response]] = {
            "/.well-known/openid-configuration": lambda: json_response(self.metadata()),
            "/authorize": lambda: self.authorize(parameters),
            "/token": lambda: self._token(parameters, authorization),
            "/userinfo": lambda: self._userinfo(authorization),
            "/par": lambda: self.push(parameters, authorization),
            "/login/oauth/authorize": lambda: self.authorize(parameters),
            "/login/oauth/access_token": lambda: self.token(parameters, authorization, github=True),
            "/user": lambda: self.userinfo(authorization),
        }
        if path in routes:
            return routes[path]()
        return self.respond_at(path, parameters, authorization)

    def consent(self, url: str, *, error: str | None = None) -> str:
        """Act as the browser at the provider; return the URL of the redirect back."""
        parts = urlsplit(url)
        if error:
            return self._back(dict(parse_qsl(parts.query)), {"error": error})
        assert f"{parts.scheme}://{parts.netloc}" == self.issuer
        status, location, body = self.respond(parts.path, dict(parse_qsl(parts.query)), "")
        assert status == 302, body
        return location

    def authorize(self, query: dict[str, str]) -> Response:
        if "request_uri" in query or self.requires_par:
            pushed = self.pushed.pop(query.get("request_uri", ""), {})
            is_whole = query.keys() == {"client_id", "request_uri"}
            if not is_whole or query["client_id"] != pushed.get("client_id"):
                return 400, "text/plain", b"not pushed"
            query = pushed
        self.authorizations.append(query)
        if not self._may_authorize(query):
            return 400, "text/plain", b"refused"
        code = self._secret()
        self.codes[code] = query
        return 302, self._back(query, {"code": code}), b""

    def _may_authorize(self, query: dict[str, str]) -> bool:
        return (
            query.get("client_id") == self.client_id
            and query.get("response_type") == "code"
            and query.get("code_challenge_method") == "S256"
            and len(query.get("code_challenge", "")) == 43
            and bool(query.get("state"))
        )

    def _back(self, query: dict[str, str], parameters: dict[str, str]) -> str:
        response = parameters | {"state": query["state"]}
        return f"{query['redirect_uri']}?{urlencode(response)}"

    def push(self, form: dict[str, str], authorization: str) -> Response:
        """Take a pushed request (RFC 9126 section 2)."""
        if not self.supports_par:
            return 404, "text/plain", b""
        if not self._authenticated(form, authorization):
            return 401, JSON, b'{"error": "invalid_client"}'
        if "request_uri" in form:
            return 400, JSON, b'{"error": "invalid_request"}'
        self.pushes.append(form)
        reference = f"urn:ietf:params:oauth:request_uri:{self._secret()}"
        self.pushed[reference] = {"client_id": self.client_id} | form
        return json_response({"request_uri": reference, "expires_in": 60}, 201)

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        if not self._authenticated(form, authorization):
            return 401, JSON, b'{"error": "invalid_client"}'
        refreshes = form.get("grant_type") == "refresh_token"
        asked = {} if refreshes else self.codes.pop(form.get("code", ""), {})
        granted = self._may_refresh(form) if refreshes else self._may_exchange(form, asked)
        if not granted:
            return 400, JSON, b'{"error": "invalid_grant"}'
        response = self.token_response(github=github, nonce=asked.get("nonce"))
        if refreshes and not self.rotates:
            response.pop("refresh_token", None)
        if github:
            return 200, "application/x-www-form-urlencoded", urlencode(response).encode()
        return json_response(response)

    def _may_exchange(self, form: dict[str, str], asked: dict[str, str]) -> bool:
        challenge = base64.urlsafe_b64encode(
            hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        ).rstrip(b"=")
        return form.get("redirect_uri") == asked.get("redirect_uri") and (
            challenge.decode() == asked.get("code_challenge") or not self.knows_pkce
        )

    def _may_refresh(self, form: dict[str, str]) -> bool:
        with self._lock:
            token = form.get("refresh_token", "")
            self.refreshes.append(token)
            if token not in self.refresh_tokens:
                self.reused = self.reused or token in self.secrets
                self.refresh_tokens.clear()
                return False
            if self.rotates:
                self.refresh_tokens.remove(token)
            return True

    def _authenticated(self, form: dict[str, str], authorization: str) -> bool:
        if self.auth_method == "client_secret_basic":
            pair = f"{quote_plus(self.client_id)}:{quote_plus(CLIENT_SECRET)}".encode()
            return authorization == f"Basic {base64.b64encode(pair).decode()}"
        if self.auth_method == "private_key_jwt":
            claims = jwt.decode(
                form["client_assertion"],
                self.public_key,
                ["RS256", "ES256", "EdDSA"],
                issuer=self.client_id,
                # The gateway uses DynamoDB's clock, which tests advance.
                options={"verify_iat": False, "verify_exp": False, "verify_aud": False},
            )
            if claims["jti"] in {each["jti"] for each in self.assertions}:
                return False
            self.assertions.append(claims)
            # RFC 10070 section 4: a single audience, not a list.
            audience = self.assertion_audience or self.issuer
            return "client_secret" not in form and claims["aud"] == audience
        return form.get("client_secret") == CLIENT_SECRET

    def _token(self, form: dict[str, str], authorization: str) -> Response:
        if not self.requires_proofs:
            return self.token(form, authorization)

        def respond(jkt: str) -> Response:
            if self.bound_tokens.get(form.get("refresh_token", ""), jkt) != jkt:
                return 400, JSON, b'{"error": "invalid_grant"}'
            status, kind, body = self.token(form, authorization)
            tokens = json.loads(body)
            for name in {"access_token", "refresh_token"} & set(tokens):
                self.bound_tokens[tokens[name]] = jkt
            if status == 200 and not self.sends_bearer:
                tokens["token_type"] = "DPoP"
            return status, kind, json.dumps(tokens).encode()

        return self._with_proof(400, None, respond)

    def _userinfo(self, authorization: str) -> Response:
        if not self.requires_proofs or self.sends_bearer:
            return self.userinfo(authorization)
        scheme, _, token = authorization.partition(" ")
        if scheme != "DPoP" or token not in self.bound_tokens:
            return 401, "text/plain", b""

        def respond(jkt: str) -> Response:
            return self.userinfo(f"Bearer {token}" if jkt == self.bound_tokens[token] else "")

        return self._with_proof(401, token, respond)

    def _with_proof(
        self, refusal: int, access_token: str | None, response: Callable[[str], Response]
    ) -> Response:
        request = self.request
        if self.checker.nonce is not None:
            request.more["DPoP-Nonce"] = self.checker.nonce
        try:
            jkt = self.checker.check(
                request.proofs, request.method, request.url, access_token, now=self.clock()
            )
        except Refused as exc:
            if refusal == 401:
                request.more["WWW-Authenticate"] = f'DPoP error="{exc.error}"'
            return json_response({"error": exc.error}, refusal)
        return response(jkt)

    def userinfo(self, authorization: str) -> Response:
        person = self.people_of_tokens.get(authorization.partition(" ")[2])
        if person is None:
            return 401, "text/plain", b""
        return json_response(person | self.more_of_userinfo)

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        """Respond at other URLs; subclasses override it."""
        return 404, "text/plain", b""

    def token_response(self, *, github: bool = False, nonce: str | None = None) -> dict[str, Any]:
        access_token = self._secret()
        self.people_of_tokens[access_token] = dict(self.person)
        response: dict[str, Any] = {"access_token": access_token, "token_type": "bearer"}
        if self.scope is not None:
            response["scope"] = self.scope
        if self.expires_in is not None:
            response["expires_in"] = self.expires_in
        if self.gives_refresh_token:
            response["refresh_token"] = self._secret()
            self.refresh_tokens.add(response["refresh_token"])
        if not github:
            response["id_token"] = self._id_token(nonce)
        return response | self.more_of_token_response

    def _id_token(self, nonce: str | None = None) -> str:
        now = int(self.clock())
        claims = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300}
        claims |= {"sub": self.person.get("sub"), "jti": secrets.token_hex(8)}
        claims |= {} if nonce is None else {"nonce": nonce}
        token = jwt.encode(claims | self.more_of_id_token, secrets.token_bytes(32), "HS256")
        self.secrets.append(token)
        return token

    def _secret(self) -> str:
        secret = secrets.token_urlsafe(24)
        self.secrets.append(secret)
        return secret


def json_response(data: Any, status: int = 200) -> Response:
    return status, JSON, json.dumps(data).encode()


P = TypeVar("P", bound=FakeProvider)


class Handler(QuietHandler):
    provider: FakeProvider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._respond(parts.path, parts.query)

    def do_POST(self) -> None:
        self._respond(self.path, self.read_body().decode())

    def _respond(self, path: str, form: str) -> None:
        authorization = self.headers.get("Authorization", "")
        request = self.provider.request
        request.method, request.url = self.command, self.provider.issuer + self.path
        request.proofs, request.more = self.headers.get_all("DPoP", []), {}
        request.body = form
        status, kind, body = self.provider.respond(path, dict(parse_qsl(form)), authorization)
        location = {"Location": kind} if status == 302 else {}
        self.respond(status, body, "text/plain" if location else kind, location | request.more)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # for many concurrent sign-ins

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that time out and disconnect."""


@contextmanager
def serving(kind: Callable[[], P]) -> Iterator[P]:
    """Serve a new provider on a free port of 127.0.0.1."""
    provider = kind()
    handler = type("Handler", (Handler,), {"provider": provider})
    with serve(_Server(("127.0.0.1", 0), handler)) as server:
        provider.issuer = f"http://127.0.0.1:{server.server_port}"
        yield provider
