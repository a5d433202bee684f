"""A strict OpenID provider with signatures, key rotation, revocation and logout.

Unlike allauth's provider and django-oauth-toolkit, it has a session id in the id token, and logout
tokens.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.oauth.support.fake_provider import FakeProvider, Response

EVENT = "http://schemas.openid.net/event/backchannel-logout"
ABSENT: Any = object()  # as a claim: omit it
RSA_KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


@dataclass
class SigningKey:
    """A key pair with its id and its algorithm."""

    id: str
    private: Any
    algorithm: str

    @classmethod
    def new(cls, algorithm: str = "ES256") -> SigningKey:
        makers: dict[str, Callable[[], Any]] = {
            "RS256": lambda: secrets.choice(RSA_KEYS),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        return cls(secrets.token_hex(8), makers[algorithm](), algorithm)

    def jwk(self) -> dict[str, Any]:
        maker = jwt.get_algorithm_by_name(self.algorithm)
        public: dict[str, Any] = json.loads(maker.to_jwk(self.private.public_key()))
        public.pop("key_ops", None)
        return public | {"kid": self.id, "use": "sig", "alg": self.algorithm}


@dataclass
class LogoutProvider(FakeProvider):
    """Announces revocation, an end-session endpoint and back-channel logout."""

    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey.new()])
    session_id: str | None = "the-session-at-the-provider"
    announces_backchannel: bool = True
    key_fetches: int = 0
    clock: Callable[[], float] = time.time  # for logout tokens
    revocations: list[dict[str, str]] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        return (
            super().metadata()
            | {
                "revocation_endpoint": f"{self.issuer}/revoke",
                "end_session_endpoint": f"{self.issuer}/end-session",
                "backchannel_logout_supported": self.announces_backchannel,
                "backchannel_logout_session_supported": self.session_id is not None,
            }
            | self.more_of_metadata
        )

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if path == "/jwks":
            self.key_fetches += 1
            body = json.dumps({"keys": [key.jwk() for key in self.keys]})
            return 200, "application/json", body.encode()
        if path == "/revoke":
            return self._revoke(parameters, authorization)
        return super().respond_at(path, parameters, authorization)

    def logout_token(
        self, header: dict[str, Any] | None = None, key: Any = None, **claims: Any
    ) -> str:
        """Sign a logout token; arguments replace the claims of a valid one."""
        now = int(self.clock())
        content = {
            "iss": self.issuer,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(12),
            "events": {EVENT: {}},
            "sub": self.person["sub"],
            "sid": self.session_id or ABSENT,
        } | claims
        content = {name: value for name, value in content.items() if value is not ABSENT}
        own = self.keys[0]
        fields = {"typ": "logout+jwt", "kid": own.id} | (header or {})
        fields = {name: value for name, value in fields.items() if value is not ABSENT}
        algorithm = fields.pop("alg", own.algorithm)
        return sign(content, own.private if key is None else key, algorithm, fields)

    def _revoke(self, form: dict[str, str], authorization: str) -> Response:
        if not self._authenticated(form, authorization):
            return 401, "application/json", b'{"error": "invalid_client"}'
        with self._lock:
            self.revocations.append(form)
            self.refresh_tokens.discard(form["token"])
            self.people_of_tokens.pop(form["token"], None)
        return 200, "text/plain", b""

    def _id_token(self, nonce: str | None = None) -> str:
        now = int(self.clock())
        claims: dict[str, Any] = {"iss": self.issuer, "aud": self.client_id, "iat": now}
        claims |= {"exp": now + 300, "sub": self.person.get("sub"), "jti": secrets.token_hex(8)}
        if nonce is not None:
            claims["nonce"] = nonce
        if self.session_id is not None:
            claims["sid"] = self.session_id
        own = self.keys[0]
        token = sign(claims | self.more_of_id_token, own.private, own.algorithm, {"kid": own.id})
        self.secrets.append(token)
        return token


def sign(content: dict[str, Any], key: Any, algorithm: str, header: dict[str, Any]) -> str:
    """Sign any content with any header, including those that PyJWT refuses to sign."""
    fields = {"alg": algorithm, "typ": "JWT"} | header
    head, body = (_encode(json.dumps(part).encode()) for part in (fields, content))
    if algorithm == "none":
        return f"{head}.{body}."
    maker = jwt.get_algorithm_by_name(algorithm)
    prepared = maker.prepare_key(key) if isinstance(key, str | bytes) else key
    return f"{head}.{body}.{_encode(maker.sign(f'{head}.{body}'.encode(), prepared))}"


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
