"""The private key with which this gateway authenticates to one authorization server.

It signs the assertions of a client that is described by a document (`client_documents`), with
`private_key_jwt` (RFC 7523). The first process that needs it generates it, and the fleet shares it
as a sealed document. It changes only by the command `change_client_key`, because a server may
revoke the grants of a client whose keys change.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from oauth.provider.public_jwk import make_jwk
from sessions_kms import TableUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.sealed_items.documents import SealedDocuments
from sessions_kms.services import Services

ES256: Final = "ES256"
RSA_ALGORITHMS: Final = ("RS256", "PS256")
RSA_BITS: Final = 3072
ATTEMPTS: Final = 5


@dataclass(frozen=True)
class ClientKey:
    """A private key in PEM, its id, and its public half as a JWK (RFC 7517)."""

    pem: bytes = field(repr=False)
    key_id: str
    public: dict[str, str] = field(hash=False)

    @property
    def jwks(self) -> dict[str, Any]:
        """The key set that the document's `jwks_uri` leads to."""
        return {"keys": [self.public]}


def load_key(services: Services, name: str) -> ClientKey | None:
    """Return the key for an MCP server; None if it has none. Raises StoreUnavailable."""
    return _load(services, name)[0]


def ensure_key(services: Services, name: str, algorithms: Sequence[str] = ()) -> ClientKey:
    """Return the key for an MCP server, generated if it has none.

    ``algorithms`` are those that the server accepts, if it says so. Raises StoreUnavailable.
    """
    __traceback_hide__ = True
    for _ in range(ATTEMPTS):
        found, _version = _load(services, name)
        if found is not None:
            return found
        if _store(services, name, _generate(_needs_rsa(algorithms)), None):
            break
    found, _version = _load(services, name)
    if found is None:
        raise TableUnavailable("The client's key was deleted at once.")
    return found


def change_key(services: Services, name: str) -> ClientKey | None:
    """Replace the key by another of its type; None if there is none. Raises StoreUnavailable."""
    __traceback_hide__ = True
    for _ in range(ATTEMPTS):
        found, version = _load(services, name)
        if found is None:
            return None
        new = _generate(found.public["kty"] == "RSA")
        if _store(services, name, new, version):
            return _read(new)
    raise TableUnavailable("The client's key is written by too many at once.")


def document_of(name: str) -> str:
    """Return the name of the document with the key for an MCP server."""
    return f"client-key/{name}"


def _needs_rsa(algorithms: Sequence[str]) -> bool:
    if not algorithms or ES256 in algorithms:
        return False
    return any(each in algorithms for each in RSA_ALGORITHMS)


def _generate(is_rsa: bool) -> bytes:
    __traceback_hide__ = True
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if is_rsa:
        private = rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
    else:
        private = ec.generate_private_key(ec.SECP256R1())
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _store(services: Services, name: str, pem: bytes, expected: bytes | None) -> bool:
    __traceback_hide__ = True
    content = json.dumps({"pem": pem.decode("ascii")}).encode()
    return run_sync(SealedDocuments(services).store(document_of(name), content, expected=expected))


def _load(services: Services, name: str) -> tuple[ClientKey | None, bytes | None]:
    __traceback_hide__ = True
    found = run_sync(SealedDocuments(services).load(document_of(name)))
    if found is None:
        return None, None
    try:
        pem = json.loads(found.content)["pem"].encode("ascii")
    except (AttributeError, LookupError, TypeError, ValueError):
        raise TableUnavailable("The client's key cannot be read.") from None
    return _read(pem), found.version


def _read(pem: bytes) -> ClientKey:
    """Return the key of a PEM. Raises TableUnavailable if it is none."""
    __traceback_hide__ = True
    try:
        private = load_pem_private_key(pem, None)
    except (TypeError, ValueError):
        raise TableUnavailable("The client's key cannot be read.") from None
    if isinstance(private, rsa.RSAPrivateKey):
        # An RSA key may sign with several algorithms, so none is named.
        public = make_jwk(private.public_key(), None)
    elif isinstance(private, ec.EllipticCurvePrivateKey):
        public = make_jwk(private.public_key(), ES256)
    else:
        raise TableUnavailable("The client's key is of an unknown type.")
    return ClientKey(pem, public["kid"], public)
