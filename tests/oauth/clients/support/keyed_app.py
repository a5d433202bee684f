"""An app with a key (`private_key_jwt`), its site with document and keys, and its requests."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from oauth.clients.grants import grants
from oauth.exceptions import ProviderUnavailable
from oauth.network.responses import ProviderResponse
from tests.oauth.clients.support.app import ISSUER, REDIRECT_URI, App
from tests.support.clock import FakeClock

CLIENT_ID = "https://app.example.com/client.json"
KEYS_URL = "https://app.example.com/jwks.json"
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Key:
    """A client's key: signs assertions as RFC 7523 describes them."""

    private: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    id: str = "one"
    algorithm: str = "ES256"

    @property
    def jwk(self) -> dict[str, Any]:
        name = "EdDSA" if self.algorithm == "Ed25519" else self.algorithm
        kind = jwt.algorithms.get_default_algorithms()[name]
        return {**json.loads(kind.to_jwk(self.private.public_key())), "kid": self.id}

    def assertion(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        now = grants().services.clock()
        claims = {
            "iss": CLIENT_ID,
            "sub": CLIENT_ID,
            "aud": ISSUER,
            "exp": int(now) + 60,
            "jti": secrets.token_hex(8),
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = ({"kid": self.id} if self.id else {}) | (header or {})
        signer = jwt.PyJWS()
        signer.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())  # RFC 9864
        return signer.encode(json.dumps(claims).encode(), self.private, self.algorithm, header)

    def proof(self, header: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
        return with_assertion(self.assertion(header, **changes))


def with_assertion(text: str) -> dict[str, str]:
    return {"client_assertion_type": TYPE, "client_assertion": text}


@dataclass
class Site:
    """The site of an app: its document and keys, and which of them were fetched."""

    key: Key = field(default_factory=Key)
    methods: list[str] = field(default_factory=lambda: ["none", "private_key_jwt"])
    more: dict[str, Any] = field(default_factory=dict)
    cache_control: str = ""
    down: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    clock: FakeClock = field(default_factory=lambda: FakeClock(1000.0))

    def get(self, address: str, max_bytes: int = 0) -> ProviderResponse:
        self.fetched.append(address)
        if address in self.down:
            raise ProviderUnavailable("down")
        document = {
            "client_id": CLIENT_ID,
            "client_name": "App",
            "redirect_uris": [REDIRECT_URI],
            "token_endpoint_auth_methods_supported": self.methods,
            "jwks_uri": KEYS_URL,
        } | self.more
        content = document if address == CLIENT_ID else {"keys": [self.key.jwk]}
        body = json.dumps(content).encode()
        return ProviderResponse(200, "application/json", body, cache_control=self.cache_control)


@dataclass
class Consented:
    """An app that a person allows, and the site of its document."""

    app: App
    site: Site
    consent: Callable[[], str]

    def begin(self, **proof: str) -> dict[str, Any]:
        response = self.app.redeem(self.consent(), **proof)
        assert response.status_code == 200, response.content
        tokens: dict[str, Any] = response.json()
        return tokens

    def refresh(self, tokens: dict[str, Any], **proof: str) -> dict[str, Any]:
        response = self.app.refresh(tokens["refresh_token"], **proof)
        assert response.status_code == 200, response.content
        found: dict[str, Any] = response.json()
        return found

    def revoke(self, token: str, **proof: str) -> Any:
        return self.app.post("/oauth/revoke", {"client_id": CLIENT_ID, "token": token} | proof)
