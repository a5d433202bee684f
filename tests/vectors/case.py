"""The parts of a vector: a sealed record of public test values, and a reader's input.

Takes attributes, gives items and files. Built on the second implementation
(`reference_format`), never on the code that the vectors are for.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.sessions_kms.support import reference_format as ref

Item = dict[str, dict[str, Any]]

DAY = 86_400
NOW = 1_800_000_000
PERIOD = NOW - NOW % DAY
LONGEST_AGE = 400 * DAY
GRANT_TIMEOUT = 30 * DAY
CREATED = NOW - 3_600
UPDATED = NOW - 60
TTL = CREATED + 7 * DAY


def fixed_bytes(label: str, length: int) -> bytes:
    """Return bytes that look random and are always the same."""
    return hashlib.shake_256(f"sessions_kms test vectors: {label}".encode()).digest(length)


NAMESPACE = "django"
SESSION_KEY = "0123456789abcdefghijklmnopqrstuv"
OTHER_SESSION_KEY = "zyxwvutsrqponmlkjihgfedcba987654"
DATA_KEY = fixed_bytes("data key", 32)
OTHER_DATA_KEY = fixed_bytes("other data key", 32)
ENCRYPTED_KEY = fixed_bytes("encrypted data key", 167)  # as long as the one in AWS's sample
OTHER_ENCRYPTED_KEY = fixed_bytes("other encrypted data key", 167)
SALT = fixed_bytes("salt", 16)
IV = fixed_bytes("iv", 12)
OWNER = "user#django#42"
SESSION = b'{"_auth_user_id":"42","greeting":"caf\\u00e9","visits":3}'


@dataclass(frozen=True)
class Wrapped:
    """One encrypted data key that KMS unwraps, in exactly this context."""

    encrypted_key: bytes = ENCRYPTED_KEY
    period: int = PERIOD
    data_key: bytes = DATA_KEY
    namespace: str = NAMESPACE
    configured: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "encryptedKey": base64.b64encode(self.encrypted_key).decode(),
            "encryptionContext": ref.encryption_context(
                self.namespace, self.period, self.configured
            ),
            "dataKey": self.data_key.hex(),
        }


# What is more often a fault of AWS's answer or of a clock than of the record.
CANNOT_TELL = {"id", "updated_in_future"}


def reject(reason: str) -> dict[str, str]:
    """Return what is expected of a record that opens no session."""
    outcome = "cannot tell" if reason in CANNOT_TELL else "invalid"
    return {"outcome": outcome, "reason": reason}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One vector."""

    description: str
    expected: Mapping[str, str]
    item: Item
    namespace: str = NAMESPACE
    session_key: str = SESSION_KEY
    now: float = NOW
    absolute_timeout: int | None = 7 * DAY
    not_before: int = 0
    configured: Mapping[str, str] = field(default_factory=dict)
    kms: tuple[Wrapped, ...] = (Wrapped(),)

    def to_text(self) -> str:
        """Return the content of the vector's file."""
        members = {
            "description": self.description,
            "namespace": self.namespace,
            "encryptionContext": dict(self.configured),
            "absoluteTimeout": self.absolute_timeout,
            "notBefore": self.not_before,
            "sessionKey": self.session_key,
            "now": self.now,
            "kms": [wrapped.to_json() for wrapped in self.kms],
            "item": dynamodb_json(self.item),
            "expected": dict(self.expected),
        }
        return json.dumps(members, indent=2) + "\n"


def invalid(
    name: str, description: str, reason: str, item: Item, **members: Any
) -> tuple[str, Case]:
    """Return a record that opens no session, with its name."""
    return name, Case(description=description, expected=reject(reason), item=item, **members)


def flip_data(item: Item) -> Item:
    """Return an item with a changed bit in its ciphertext."""
    data = item["encryptedData"]["B"]
    return item | {"encryptedData": {"B": bytes([data[0] ^ 1]) + data[1:]}}


def times(updated: int, created: int) -> dict[str, Any]:
    """Return the attributes of an item that was written then; unwrap it by `wrapped_at`."""
    numbers = {"updatedAt": updated, "createdAt": created, "keyPeriod": updated - updated % DAY}
    return {name: {"N": str(number)} for name, number in numbers.items()}


def wrapped_keys_at(updated: int) -> tuple[Wrapped, ...]:
    return (Wrapped(), Wrapped(period=updated - updated % DAY))


def vector_text(
    description: str,
    item: Item,
    kms: Iterable[Wrapped],
    expected: Mapping[str, Any],
    **given: Any,
) -> str:
    """Return the content of a vector's file; ``given`` are the members that only its kind has."""
    members = {
        "description": description,
        "namespace": NAMESPACE,
        "encryptionContext": {},
        **given,
        "now": NOW,
        "kms": [each.to_json() for each in kms],
        "item": dynamodb_json(item),
        "expected": dict(expected),
    }
    return json.dumps(members, indent=2) + "\n"


def dynamodb_json(item: Item) -> dict[str, Any]:
    return {
        name: {
            kind: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for kind, value in attribute.items()
        }
        for name, attribute in item.items()
    }


def header(
    *,
    namespace: str = NAMESPACE,
    session_key: str = SESSION_KEY,
    owner: str | None = OWNER,
    created: int = CREATED,
    updated: int = UPDATED,
    ttl: int = TTL,
    revision: int = 3,
    period: int = PERIOD,
    encrypted_key: bytes = ENCRYPTED_KEY,
    salt: bytes = SALT,
) -> Item:
    """Return all attributes of a record but those that sealing makes."""
    item: Item = {
        "id": {"S": ref.session_id(namespace, session_key)},
        "version": {"N": "1"},
        "encryptedKey": {"B": encrypted_key},
        "keyPeriod": {"N": str(period)},
        "salt": {"B": salt},
        "createdAt": {"N": str(created)},
        "updatedAt": {"N": str(updated)},
        "ttl": {"N": str(ttl)},
        "revision": {"N": str(revision)},
    }
    return item if owner is None else item | {"owner": {"S": owner}}


def seal_session(
    plaintext: bytes = SESSION,
    *,
    namespace: str = NAMESPACE,
    session_key: str = SESSION_KEY,
    data_key: bytes = DATA_KEY,
    **attributes: Any,
) -> Item:
    """Return a whole record."""
    return ref.seal(
        plaintext,
        header(namespace=namespace, session_key=session_key, **attributes),
        namespace=namespace,
        session_key=session_key,
        data_key=data_key,
        iv=IV,
    )


def seal_differently(
    *,
    derive: Callable[[bytes, bytes, list[bytes]], tuple[bytes, bytes]] | None = None,
    associate: Callable[[Item], bytes] | None = None,
    **attributes: Any,
) -> Item:
    """Return a record of a program that read the page wrongly.

    ``derive`` takes salt, secret and the fields of info, and gives key and commitment.
    """
    item = header(**attributes)
    if derive:
        info = ref.info_fields(NAMESPACE, item)
        key, commitment = derive(SALT, ref.secret_of(SESSION_KEY), info)
    else:
        key, commitment = ref.derive(DATA_KEY, SESSION_KEY, NAMESPACE, item)
    item |= {"iv": {"B": IV}, "commitment": {"B": commitment}}
    associated = associate(item) if associate else associated_data(item)
    ciphertext, tag = ref.gcm_encrypt(key, IV, SESSION, associated)
    return item | {"encryptedData": {"B": ciphertext}, "authTag": {"B": tag}}


def associated_data(item: Item) -> bytes:
    return ref.prefix_lengths(ref.associated_fields(NAMESPACE, item))
