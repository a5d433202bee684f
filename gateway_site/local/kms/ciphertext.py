"""The ciphertext blob: plaintext, key material and encryption context in, opaque bytes out.

    version 1 | account 12 | length of key id 1 | key id | material id 32 | nonce 12
    | AES-256-GCM ciphertext and tag | HMAC-SHA256 of all before, under the store's secret 32

The HMAC lets `Decrypt` tell an altered blob from one whose key is unknown before it looks for
the key. The encryption context is bound by length-prefixed, sorted, encoded bytes, so no two
contexts give the same associated data. Knows nothing of key states, policies or HTTP.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
ACCOUNT_LENGTH = 12
MATERIAL_ID_LENGTH = 32
NONCE_LENGTH = 12
TAG_LENGTH = 16
MAC_LENGTH = 32


class InvalidBlob(Exception):
    """The blob is not whole, not from this store, or does not fit the encryption context."""


@dataclass(frozen=True)
class Sealed:
    """A blob taken apart: which key and material sealed it, and what they sealed."""

    account: str
    key_id: str
    material_id: str
    header: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    body: bytes = field(repr=False)


def seal(
    plaintext: bytes,
    context: Mapping[str, str],
    *,
    account: str,
    key_id: str,
    material_id: str,
    material: bytes,
    secret: bytes,
    nonce: bytes,
) -> bytes:
    """Encrypt `plaintext` under `material`, bound to the key's names and to `context`."""
    name = key_id.encode("ascii")
    header = VERSION + account.encode("ascii") + bytes([len(name)]) + name
    header += bytes.fromhex(material_id)
    body = AESGCM(material).encrypt(nonce, plaintext, _associated_data(header, context))
    return _with_mac(header + nonce + body, secret)


def parse(blob: bytes, secret: bytes) -> Sealed:
    """Take apart a blob that this store sealed; raise `InvalidBlob` for any other bytes."""
    signed = blob[:-MAC_LENGTH]
    if not hmac.compare_digest(_with_mac(signed, secret), blob):
        raise InvalidBlob
    if signed[:1] != VERSION:
        raise InvalidBlob
    key_id_at = 1 + ACCOUNT_LENGTH + 1
    material_at = key_id_at + signed[key_id_at - 1]
    nonce_at = material_at + MATERIAL_ID_LENGTH
    body_at = nonce_at + NONCE_LENGTH
    if len(signed) < body_at + TAG_LENGTH:
        raise InvalidBlob
    return Sealed(
        account=signed[1 : 1 + ACCOUNT_LENGTH].decode("ascii"),
        key_id=signed[key_id_at:material_at].decode("ascii"),
        material_id=signed[material_at:nonce_at].hex(),
        header=signed[:nonce_at],
        nonce=signed[nonce_at:body_at],
        body=signed[body_at:],
    )


def unseal(sealed: Sealed, context: Mapping[str, str], material: bytes) -> bytes:
    """Return the plaintext; raise `InvalidBlob` unless material and context are the same."""
    associated_data = _associated_data(sealed.header, context)
    try:
        return AESGCM(material).decrypt(sealed.nonce, sealed.body, associated_data)
    except InvalidTag:
        raise InvalidBlob from None


def _associated_data(header: bytes, context: Mapping[str, str]) -> bytes:
    pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    return _framed([header, *(part for pair in pairs for part in pair)])


def _framed(parts: Iterable[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _with_mac(signed: bytes, secret: bytes) -> bytes:
    return signed + hmac.digest(secret, signed, "sha256")
