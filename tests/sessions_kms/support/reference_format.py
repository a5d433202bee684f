"""A second implementation of docs/format.md, version 1, written only from that page.

Takes an item and a cookie, and returns the serialized session or raises the reason. It must not
depend on the code that it is compared with: it does not import `sessions_kms`, and implements HKDF
and GCM in another way.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

Item = Mapping[str, Mapping[str, Any]]
Unwrap = Callable[[bytes, int], bytes]  # encryptedKey and keyPeriod -> data key

EIGHT_DAYS = 691_200
LONGEST_AGE = 34_560_000  # 400 days
SKEW = 300
NUMBERS = ("createdAt", "updatedAt", "ttl", "revision", "keyPeriod")
BINARIES = {
    "encryptedData": range(409_601),
    "iv": range(12, 13),
    "authTag": range(16, 17),
    "encryptedKey": range(1, 6_145),
    "salt": range(16, 17),
    "commitment": range(32, 33),
}


class NoSession(Exception):
    """The session does not exist."""


class Moved(Exception):
    """The key of the session was just changed: the visitor has to retry."""


class Invalid(Exception):
    """The record is not ours, or is incomplete."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CannotTell(Exception):
    """DynamoDB or KMS did not respond correctly, or a clock is wrong."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


# Names and digests


def session_id(namespace: str, session_key: str) -> str:
    hashed = b"sessions_kms/1/id\0%b\0%b" % (namespace.encode(), session_key.encode())
    return base64.urlsafe_b64encode(hashlib.sha256(hashed).digest())[:43].decode()


def about_id(namespace: str, of: str) -> str:
    return f"about#{namespace}#{of}"


def token_id(namespace: str, token: str) -> str:
    hashed = b"sessions_kms/1/token\0%b\0%b" % (namespace.encode(), token.encode())
    digest = base64.urlsafe_b64encode(hashlib.sha256(hashed).digest())[:43].decode()
    return f"token#{namespace}#{digest}"


def answer_id(namespace: str, token: str) -> str:
    return token_id(namespace, token).replace("token#", "answer#", 1)


def document_id(namespace: str, name: str) -> str:
    return f"document#{namespace}#{name}"


def encryption_context(
    namespace: str, period: int, configured: Mapping[str, str] | None = None
) -> dict[str, str]:
    ours = {"purpose": "sessions_kms", "namespace": namespace, "period": str(period)}
    return {**(configured or {}), **ours}


# Sealing


def derive(data_key: bytes, session_key: str, namespace: str, item: Item) -> tuple[bytes, bytes]:
    """Return the record's key and its commitment."""
    info = prefix_lengths(info_fields(namespace, item))
    return halves(hkdf(data_key + secret_of(session_key), item["salt"]["B"], info))


def secret_of(session_key: str) -> bytes:
    return hashlib.sha256(b"sessions_kms/1/secret\0" + session_key.encode()).digest()


def info_fields(namespace: str, item: Item) -> list[bytes]:
    """Return the seven fields of HKDF's info."""
    item_id = item["id"]["S"]
    item_type = item_id.split("#")[0] if "#" in item_id else "session"
    texts = ["sessions_kms/1", item_type, namespace, item_id]
    numbers = [item[name]["N"] for name in ("version", "revision", "updatedAt")]
    return [each.encode() for each in texts + numbers]


def hkdf(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    """Return 64 bytes (RFC 5869 with SHA-256)."""
    prk = hmac.digest(salt, ikm, "sha256")
    first = hmac.digest(prk, info + b"\x01", "sha256")
    return first + hmac.digest(prk, first + info + b"\x02", "sha256")


def halves(okm: bytes) -> tuple[bytes, bytes]:
    return okm[:32], okm[32:]


def associated_fields(namespace: str, item: Item) -> list[bytes]:
    """Return the eleven fields of the associated data."""
    return [
        b"sessions_kms/1",
        namespace.encode(),
        item["id"]["S"].encode(),
        *(
            item[name]["N"].encode()
            for name in ("version", "createdAt", "updatedAt", "ttl", "revision")
        ),
        item["owner"]["S"].encode() if "owner" in item else b"",
        item["salt"]["B"],
        item["commitment"]["B"],
    ]


def prefix_lengths(fields: list[bytes]) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def gcm_encrypt(key: bytes, iv: bytes, plaintext: bytes, associated: bytes) -> tuple[bytes, bytes]:
    encryptor = Cipher(AES(key), GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(associated)
    ciphertext = encryptor.update(plaintext) + encryptor.finalize()
    return ciphertext, encryptor.tag


def seal(
    plaintext: bytes,
    header: Item,
    *,
    namespace: str,
    session_key: str,
    data_key: bytes,
    iv: bytes,
) -> dict[str, dict[str, Any]]:
    """Return a whole item; ``header`` has all attributes except those created by sealing."""
    key, commitment = derive(data_key, session_key, namespace, header)
    item = {name: dict(value) for name, value in header.items()}
    item |= {"iv": {"B": iv}, "commitment": {"B": commitment}}
    ciphertext, tag = gcm_encrypt(
        key, iv, plaintext, prefix_lengths(associated_fields(namespace, item))
    )
    return item | {"encryptedData": {"B": ciphertext}, "authTag": {"B": tag}}


# Reading, in the order of the page


def open_item(
    item: Item,
    *,
    namespace: str,
    session_key: str,
    now: float,
    unwrap: Unwrap,
    absolute_timeout: int | None = None,
    not_before: int = 0,
) -> bytes:
    """Return the serialized session.

    Raises NoSession, Invalid, CannotTell, or what ``unwrap`` raises.
    """
    check_cookie(session_key)
    if item.get("id") != {"S": session_id(namespace, session_key)}:
        raise CannotTell("id")
    check_tombstone(item, now)
    numbers = checked_numbers(item)
    check_alive(numbers, now, absolute_timeout, not_before)
    check_times(numbers, now)
    data_key = unwrap(item["encryptedKey"]["B"], numbers["keyPeriod"])
    return decrypt(item, namespace, session_key, data_key)


def open_about(
    item: Item,
    *,
    namespace: str,
    of: str,
    now: float,
    unwrap: Unwrap,
    absolute_timeout: int | None,
    grant_timeout: int,
) -> dict[str, str]:
    """Return the metadata of a session id. Raises the errors of `open_item`."""
    item_id = about_id(namespace, of)
    if item.get("id") != {"S": item_id}:
        raise CannotTell("id")
    numbers = checked_numbers(item)
    if len(item["encryptedData"]["B"]) > 16_384:
        raise Invalid("encryptedData")
    if absolute_timeout is None:
        check_end(numbers["updatedAt"] + LONGEST_AGE, now)
    else:
        check_end(numbers["createdAt"] + max(absolute_timeout, grant_timeout), now)
    check_times(numbers, now)
    data_key = unwrap(item["encryptedKey"]["B"], numbers["keyPeriod"])
    words = json.loads(decrypt(item, namespace, item_id, data_key))
    texts = [*words.keys(), *words.values()]
    if len(words) > 8 or not all(isinstance(each, str) and len(each) <= 100 for each in texts):
        raise Invalid("words")
    return {str(name): str(word) for name, word in words.items()}


def open_document(item: Item, *, namespace: str, name: str, now: float, unwrap: Unwrap) -> bytes:
    """Return the content of a document. Raises the errors of `open_item`."""
    item_id = document_id(namespace, name)
    if item.get("id") != {"S": item_id}:
        raise CannotTell("id")
    numbers = checked_numbers(item)
    if len(typed_value(item, "stamp", "B", bytes)) != 16:
        raise Invalid("stamp")
    check_end(numbers["updatedAt"] + LONGEST_AGE, now)
    check_times(numbers, now)
    if len(item["encryptedData"]["B"]) > 65_536:
        raise Invalid("encryptedData")
    data_key = unwrap(item["encryptedKey"]["B"], numbers["keyPeriod"])
    return decrypt_bytes(item, namespace, item_id, data_key)


def open_token(
    item: Item, *, namespace: str, token: str, now: float, unwrap: Unwrap, grant_timeout: int
) -> Any:
    """Return the content of a token's item, or the session and time of a tombstone.

    Raises NoSession, Invalid, CannotTell, or the errors of ``unwrap``.
    """
    check_token(token)
    item_id = token_id(namespace, token)
    if item.get("id") != {"S": item_id}:
        raise CannotTell("id")
    if "spentAt" in item and "encryptedData" not in item and "authTag" not in item:
        return bury(item, now)
    if len(typed_value(item, "stamp", "B", bytes)) != 16:
        raise Invalid("stamp")
    given: Any = {"namespace": namespace, "now": now, "grant_timeout": grant_timeout}
    return json.loads(open_under(item, token, unwrap=unwrap, **given))


def open_answer(
    item: Item,
    *,
    namespace: str,
    token: str,
    verifier: str,
    now: float,
    unwrap: Unwrap,
    grant_timeout: int,
) -> Any:
    """Return the response for a redeemed token. Raises the errors of `open_token`."""
    check_token(token)
    if item.get("id") != {"S": answer_id(namespace, token)}:
        raise CannotTell("id")
    given: Any = {"namespace": namespace, "now": now, "grant_timeout": grant_timeout}
    return json.loads(open_under(item, token + verifier, unwrap=unwrap, **given))


def open_under(
    item: Item, secret: str, *, namespace: str, now: float, unwrap: Unwrap, grant_timeout: int
) -> bytes:
    numbers = checked_numbers(item)
    if len(item["encryptedData"]["B"]) > 32_768:
        raise Invalid("encryptedData")
    check_alive(numbers, now, grant_timeout, -1)
    check_times(numbers, now)
    data_key = unwrap(item["encryptedKey"]["B"], numbers["keyPeriod"])
    return decrypt(item, namespace, secret, data_key)


def bury(item: Item, now: float) -> tuple[str, int]:
    if number(item, "version") != 1:
        raise Invalid("version")
    spent_at, ttl = number(item, "spentAt"), number(item, "ttl")
    if len(typed_value(item, "stamp", "B", bytes)) != 16:
        raise Invalid("stamp")
    session = typed_value(item, "session", "S", str)
    if not re.fullmatch("[A-Za-z0-9_-]{43}", session):
        raise Invalid("session")
    if ttl <= now:
        raise NoSession
    return session, spent_at


def check_token(token: str) -> None:
    if not re.fullmatch("gw[car]_[a-z0-9]{32}", token):
        raise NoSession


def check_cookie(session_key: str) -> None:
    if not re.fullmatch("[a-z0-9]{32}", session_key):
        raise NoSession


def check_tombstone(item: Item, now: float) -> None:
    if "movedAt" not in item or "encryptedData" in item or "authTag" in item:
        return
    if number(item, "version") != 1:
        raise Invalid("version")
    moved_at = number(item, "movedAt")
    if moved_at > now - 15 and moved_at <= now + SKEW:
        raise Moved
    raise NoSession


def checked_numbers(item: Item) -> dict[str, int]:
    """Check every attribute's presence, type, length and form; return the numbers."""
    if number(item, "version") != 1:
        raise Invalid("version")
    numbers = {name: number(item, name) for name in NUMBERS}
    for name, lengths in BINARIES.items():
        if len(typed_value(item, name, "B", bytes)) not in lengths:
            raise Invalid(name)
    check_text(item, "id")
    if "owner" in item:
        check_text(item, "owner")
    return numbers


def number(item: Item, name: str) -> int:
    text = typed_value(item, name, "N", str)
    if not re.fullmatch("0|[1-9][0-9]{0,37}", text):
        raise Invalid(name)
    return int(text)


def check_text(item: Item, name: str) -> None:
    try:
        length = len(typed_value(item, name, "S", str).encode())
    except UnicodeEncodeError:
        raise Invalid(name) from None
    if not 1 <= length <= 1_024:
        raise Invalid(name)


def typed_value(item: Item, name: str, kind: str, python_type: type) -> Any:
    value = item.get(name)
    if (
        not isinstance(value, Mapping)
        or set(value) != {kind}
        or not isinstance(value[kind], python_type)
    ):
        raise Invalid(name)
    return value[kind]


def check_alive(
    numbers: Mapping[str, int], now: float, absolute_timeout: int | None, not_before: int
) -> None:
    created = numbers["createdAt"]
    if numbers["ttl"] <= now or created <= not_before:
        raise NoSession
    if absolute_timeout is not None and created + absolute_timeout <= now:
        raise NoSession


def check_end(end: int, now: float) -> None:
    if end <= now:
        raise NoSession


def check_times(numbers: Mapping[str, int], now: float) -> None:
    updated, period = numbers["updatedAt"], numbers["keyPeriod"]
    if updated > now + SKEW:
        raise CannotTell("updated_in_future")
    if not period <= updated <= period + EIGHT_DAYS:
        raise Invalid("key_period")
    if numbers["createdAt"] > updated + SKEW:
        raise Invalid("created_after_updated")


def decrypt(item: Item, namespace: str, session_key: str, data_key: bytes) -> bytes:
    plaintext = decrypt_bytes(item, namespace, session_key, data_key)
    if not is_json_object(plaintext):
        raise Invalid("payload")
    return plaintext


def decrypt_bytes(item: Item, namespace: str, session_key: str, data_key: bytes) -> bytes:
    key, commitment = derive(data_key, session_key, namespace, item)
    if not hmac.compare_digest(commitment, item["commitment"]["B"]):
        raise Invalid("commitment")
    decryptor = Cipher(AES(key), GCM(item["iv"]["B"], item["authTag"]["B"])).decryptor()
    decryptor.authenticate_additional_data(prefix_lengths(associated_fields(namespace, item)))
    plaintext = decryptor.update(item["encryptedData"]["B"])
    try:
        decryptor.finalize()
    except InvalidTag:
        raise Invalid("authentication") from None
    return plaintext


def is_json_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text.decode("ascii")), dict)
    except (ValueError, RecursionError):
        return False


# AWS


def fetch(dynamodb: Any, table: str, namespace: str, session_key: str) -> Item:
    """Return the item of a cookie. Raises NoSession or CannotTell."""
    check_cookie(session_key)
    response = dynamodb.get_item(
        TableName=table,
        Key={"id": {"S": session_id(namespace, session_key)}},
        ConsistentRead=True,
        ReturnConsumedCapacity="TOTAL",
    )
    if "Item" in response:
        item: Item = response["Item"]
        return item
    raise NoSession if "ConsumedCapacity" in response else CannotTell


def unwrap_with(
    kms: Any, key_arn: str, namespace: str, configured: Mapping[str, str] | None = None
) -> Unwrap:
    """Return a function that unwraps data keys with this KMS key."""

    def unwrap(encrypted_key: bytes, period: int) -> bytes:
        try:
            response = kms.decrypt(
                KeyId=key_arn,
                CiphertextBlob=encrypted_key,
                EncryptionContext=encryption_context(namespace, period, configured),
            )
        except ClientError as exc:
            if exc.response["Error"]["Code"] == "InvalidCiphertextException":
                raise Invalid("encrypted_key") from None
            raise CannotTell from exc
        except BotoCoreError as exc:
            raise CannotTell from exc
        plaintext: bytes = response["Plaintext"]
        if response["KeyId"] != key_arn or len(plaintext) != 32:
            raise CannotTell
        return plaintext

    return unwrap
