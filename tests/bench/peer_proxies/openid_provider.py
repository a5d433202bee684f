"""A minimal OpenID provider that signs in every visitor at once with a redirect.

python -m tests.bench.peer_proxies.openid_provider
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.production.http_server import Connection, make_response, serve

JSON = b"application/json"
AGE = 86_400  # seconds, of every token
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHOWN: dict[str, Any] = {
    **RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True),
    "kid": "1",
    "alg": "RS256",
}

nonces: dict[str, tuple[str, str]] = {}


def respond(_: Connection, head: bytes, body: bytes) -> bytes:
    lines = head.decode("latin-1").split("\r\n")
    target = urlsplit(lines[0].split(" ")[1])
    host = next(line.split(" ")[1] for line in lines[1:] if line.lower().startswith("host:"))
    issuer = f"http://{host}"
    if target.path == "/authorize":
        return _redirect_back(_fields(target.query))
    documents: dict[str, Callable[[], dict[str, Any]]] = {
        "/.well-known/openid-configuration": lambda: _metadata(issuer),
        "/jwks": lambda: {"keys": [SHOWN]},
        "/token": lambda: _tokens(issuer, _fields(body.decode())["code"]),
        "/userinfo": lambda: {"sub": "ada"},
    }
    return make_response(json.dumps(documents[target.path]()).encode(), JSON)


def _metadata(issuer: str) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/jwks",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }


def _redirect_back(parameters: dict[str, str]) -> bytes:
    code = secrets.token_urlsafe(16)
    nonces[code] = parameters["client_id"], parameters.get("nonce", "")
    location = (
        f"{parameters['redirect_uri']}?{urlencode({'code': code, 'state': parameters['state']})}"
    )
    return b"HTTP/1.1 302 Found\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % location.encode()


def _tokens(issuer: str, code: str) -> dict[str, Any]:
    client, nonce = nonces.pop(code)
    now = int(time.time())
    claims = {"iss": issuer, "sub": "ada", "aud": client, "iat": now, "exp": now + AGE}
    return {
        "access_token": "t" * 600,  # as long as the gateway's token
        "token_type": "Bearer",
        "expires_in": AGE,
        "id_token": jwt.encode(claims | {"nonce": nonce}, KEY, "RS256", headers={"kid": "1"}),
    }


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


if __name__ == "__main__":
    serve(respond)
