"""How a client authenticates at the token endpoint: the methods and keys of its metadata. Pure.

`token_endpoint_auth_method` is the method that the client prefers (RFC 7591 section 2), and
`token_endpoint_auth_methods_supported` are all that it can use (OpenID Connect Relying Party
Metadata Choices 1.0): one document is for every server, and each takes a method that both support.
Keys are in `jwks`, or at the URL `jwks_uri`. Only the operator can give a client a secret, of which
the file has the digest: the secret is random, so that nobody can guess it from that.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from oauth.clients.rules.errors import UnknownClient
from oauth.provider.signing_keys import KeySet, parse_keys

NONE: Final = "none"
PRIVATE_KEY_JWT: Final = "private_key_jwt"
CLIENT_SECRET: Final = ("client_secret_post", "client_secret_basic")

METHOD: Final = "token_endpoint_auth_method"
METHODS: Final = "token_endpoint_auth_methods_supported"
METHODS_MAX: Final = 16
METHOD_NAME: Final = re.compile(r"[a-z0-9_]{1,40}")
KEYS: Final = "jwks"
KEYS_URI: Final = "jwks_uri"
DIGESTS: Final = "client_secret_sha256"
DIGESTS_MAX: Final = 2  # during a rotation
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
SECRET_BYTES: Final = 32


@dataclass(frozen=True)
class Authentication:
    """How a client authenticates: the accepted methods that it supports, and its keys or secrets.

    Keys are in ``keys``, or at ``jwks_uri``. Of secrets, ``secret_digests`` has the SHA-256.
    """

    methods: frozenset[str] = frozenset({NONE})
    keys: KeySet = ()
    jwks_uri: str | None = None
    secret_digests: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def is_public(self) -> bool:
        """Whether a request of the client may come without authentication."""
        return NONE in self.methods

    @property
    def has_key(self) -> bool:
        """Whether the client can prove that it has a private key."""
        return PRIVATE_KEY_JWT in self.methods

    def has_secret(self, secret: str) -> bool:
        """Return True for a secret of the client, in the same time for every other one."""
        __traceback_hide__ = True
        digest = hash_secret(secret)
        matches = [hmac.compare_digest(digest, each) for each in self.secret_digests]
        return any(matches)


PUBLIC: Final = Authentication()


def make_secret() -> str:
    """Return a random secret of 32 bytes in base64url."""
    return secrets.token_urlsafe(SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """Return the digest of a secret, which the operator's file has in hexadecimal digits."""
    __traceback_hide__ = True
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def read_methods(members: Mapping[str, Any]) -> frozenset[str]:
    """Return the methods that a client's metadata supports. Raises UnknownClient if unreadable."""
    named = members.get(METHODS, [members.get(METHOD, NONE)])
    if not isinstance(named, list) or len(named) > METHODS_MAX or not all(map(_is_method, named)):
        raise UnknownClient("The client's document does not say how the client authenticates.")
    return frozenset(named)


def read_inline_keys(members: Mapping[str, Any]) -> KeySet:
    """Return the usable keys of `jwks` (RFC 7517 section 5); an empty tuple if there are none."""
    key_set = members.get(KEYS)
    return parse_keys(key_set.get("keys")) if isinstance(key_set, dict) else ()


def read_secret_digests(value: object) -> tuple[bytes, ...]:
    """Return the digests of one or two secrets; an empty tuple if the value is unusable."""
    named = value if isinstance(value, list) else [value]
    usable = all(isinstance(each, str) and DIGEST.fullmatch(each) for each in named)
    return tuple(map(bytes.fromhex, named)) if usable and len(named) <= DIGESTS_MAX else ()


def _is_method(value: object) -> bool:
    return isinstance(value, str) and METHOD_NAME.fullmatch(value) is not None
