"""Sealing and opening, format version 1 (docs/format.md), without I/O, clock or randomness.

Converts serialized bytes to a `SessionRecord` and back, with the visitor's session key and a data
key. Decrypting takes both keys: the table and the data key are not enough without the cookie, nor
the cookie without the data key.
"""

import hashlib
import hmac
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import COMMITMENT_BYTES, TAG_BYTES
from sessions_kms.format.item_types import SESSION, ItemType
from sessions_kms.format.record import Header, SessionRecord

KEY_BYTES = 32
SUITE = b"sessions_kms/1"
_HASH: Final = SHA256()  # without state, so it can be shared


def seal(
    plaintext: bytes,
    header: Header,
    *,
    namespace: str,
    session_key: str,
    data_key: bytes,
    encrypted_key: bytes,
    key_period: int,
    salt: bytes,
    iv: bytes,
    ancestors: bytes = b"",
    item_type: ItemType = SESSION,
) -> SessionRecord:
    """Encrypt a serialized session into a record; its ancestors are stored unsealed.

    An item of another ``item_type`` has a secret of its own in place of the session key.

    ``salt`` and ``iv`` must be fresh random bytes for each call (NIST SP 800-38D, 8.2.2).
    """
    __traceback_hide__ = True  # Error reports show the variables of frames: here, keys.
    info, bound = _bind(header, namespace, item_type)
    key, commitment = _derive(data_key, session_key, salt, info)
    sealed = AESGCM(key).encrypt(iv, plaintext, bound + _field(salt) + _field(commitment))
    return SessionRecord(
        id=header.id,
        created_at=header.created_at,
        updated_at=header.updated_at,
        ttl=header.ttl,
        revision=header.revision,
        owner=header.owner,
        version=header.version,
        key_period=key_period,
        encrypted_key=encrypted_key,
        salt=salt,
        commitment=commitment,
        iv=iv,
        encrypted_data=sealed[:-TAG_BYTES],
        auth_tag=sealed[-TAG_BYTES:],
        ancestors=ancestors,
    )


def open_(
    record: SessionRecord,
    *,
    namespace: str,
    session_key: str,
    data_key: bytes,
    item_type: ItemType = SESSION,
) -> bytes:
    """Decrypt a record, after comparing its commitment to exactly these keys.

    Raises InvalidRecord.
    """
    __traceback_hide__ = True
    info, bound = _bind(record, namespace, item_type)
    key, commitment = _derive(data_key, session_key, record.salt, info)
    if not hmac.compare_digest(commitment, record.commitment):
        raise InvalidRecord("commitment")
    try:
        return AESGCM(key).decrypt(
            record.iv,
            record.encrypted_data + record.auth_tag,
            bound + _field(record.salt) + _field(record.commitment),
        )
    except InvalidTag:
        raise InvalidRecord("authentication") from None


def _derive(data_key: bytes, session_key: str, salt: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Return the record's own key and its commitment (HKDF, RFC 5869).

    Data key and secret have fixed lengths, so their concatenation is unambiguous.
    """
    __traceback_hide__ = True
    secret = hashlib.sha256(b"sessions_kms/1/secret\0" + session_key.encode()).digest()
    if len(data_key) != KEY_BYTES:
        raise InvalidRecord("data_key")
    okm = HKDF(_HASH, KEY_BYTES + COMMITMENT_BYTES, salt, info).derive(data_key + secret)
    return okm[:KEY_BYTES], okm[KEY_BYTES:]


def _bind(header: Header, namespace: str, item_type: ItemType) -> tuple[bytes, bytes]:
    """Return HKDF's info, and the associated data up to the salt (docs/format.md, Sealing).

    The info separates the keys of records that repeat a salt. The owner is not in it: some
    libraries take at most 1,024 bytes.
    """
    start_of_info, start_of_data = _starts(item_type, namespace)
    id_ = _field(header.id.encode())
    version = _field(b"%d" % header.version)
    updated_at = _field(b"%d" % header.updated_at)
    revision = _field(b"%d" % header.revision)
    info = start_of_info + id_ + version + revision + updated_at
    times = _field(b"%d" % header.created_at) + updated_at + _field(b"%d" % header.ttl)
    owner = _field((header.owner or "").encode())
    return info, start_of_data + id_ + version + times + revision + owner


@lru_cache(64)
def _starts(item_type: ItemType, namespace: str) -> tuple[bytes, bytes]:
    """Return the first fields of the info and of the associated data."""
    suite, named = _field(SUITE), _field(namespace.encode())
    return suite + _field(item_type.label.encode()) + named, suite + named


def _field(value: bytes) -> bytes:
    """Return bytes after their length, so that no two lists of fields give the same bytes."""
    return len(value).to_bytes(4, "big") + value
