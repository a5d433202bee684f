"""The second implementation of docs/format.md: leases, data keys, cutoffs and checkpoints.

Like `reference_format`, it is written only from that page and does not import `sessions_kms`.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from tests.sessions_kms.support.reference_format import (
    SKEW,
    CannotTell,
    Invalid,
    Item,
    Unwrap,
    check_times,
    checked_numbers,
    decrypt,
    number,
    typed_value,
)

MAC_LABEL = b"gateway audit checkpoint 1\0"


class Held(Exception):
    """Another process holds the lease until a time."""


class Free(Exception):
    """Any process may take the lease."""


class Unusable(Exception):
    """A process makes its own data key."""


def lease_id(namespace: str, secret: str) -> str:
    hashed = b"sessions_kms/1/lease\0%b\0%b" % (namespace.encode(), secret.encode())
    digest = base64.urlsafe_b64encode(hashlib.sha256(hashed).digest())[:43].decode()
    return f"lease#{namespace}#{digest}"


def assertion_lease_secret(server: str, session_key: str) -> str:
    """Return the lease secret of an exchange of assertions."""
    hashed = b"oauth/id-jag\0%b\0%b" % (server.encode(), session_key.encode())
    return hashlib.sha256(hashed).hexdigest()[:32]


def used_assertion_id(namespace: str, issuer: str, jti: str) -> str:
    hashed = f"{len(issuer)}:{issuer}{jti}".encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(hashed).digest())[:43].decode()
    return f"assertion#{namespace}#{digest}"


def data_key_id(namespace: str, period: int) -> str:
    return f"data-key#{namespace}#{period}"


def open_lease(item: Item, *, namespace: str, secret: str, now: float, unwrap: Unwrap) -> bytes:
    """Return the result. Raises Held with the time, Free, or CannotTell."""
    if item.get("id") != {"S": lease_id(namespace, secret)}:
        raise CannotTell("id")
    try:
        return _open_lease(item, namespace, secret, now, unwrap)
    except Invalid as exc:
        raise CannotTell(exc.reason) from None


def _open_lease(item: Item, namespace: str, secret: str, now: float, unwrap: Unwrap) -> bytes:
    require_version(item)
    ends, ttl = number(item, "ends"), number(item, "ttl")
    typed_value(item, "holder", "S", str)
    if len(typed_value(item, "stamp", "B", bytes)) != 16:
        raise Invalid("stamp")
    if "encryptedData" not in item:
        raise Held(ends + 5) if ends + 5 > now else Free
    if ttl <= now:
        raise Free
    numbers = checked_numbers(item)
    check_times(numbers, now)
    data_key = unwrap(item["encryptedKey"]["B"], numbers["keyPeriod"])
    return decrypt(item, namespace, secret, data_key)


def published_key(item: Item, *, namespace: str, period: int, unwrap: Unwrap) -> bytes:
    """Return the data key. Raises CannotTell, Unusable, or the errors of ``unwrap``."""
    if item.get("id") != {"S": data_key_id(namespace, period)}:
        raise CannotTell("id")
    try:
        require_version(item)
        numbers = [number(item, name) for name in ("keyPeriod", "createdAt", "ttl")]
        if "replacedAt" in item:
            number(item, "replacedAt")
        size = len(typed_value(item, "encryptedKey", "B", bytes))
    except Invalid:
        raise Unusable from None
    if numbers[0] != period or not 1 <= size <= 6_144:
        raise Unusable
    return unwrap(item["encryptedKey"]["B"], period)


def cutoff(item: Item, *, namespace: str, now: float) -> int | None:
    """Return the cutoff, or None for one that is ignored. Raises CannotTell."""
    if item.get("id") != {"S": f"not-before#{namespace}"}:
        raise CannotTell("id")
    try:
        require_version(item)
        moment = number(item, "notBefore")
    except Invalid as exc:
        raise CannotTell(exc.reason) from None
    return moment if moment <= now + SKEW else None


def checkpoint(
    item: Item, *, namespace: str, writer: str, verify: Callable[[bytes, bytes], bool]
) -> tuple[int, str]:
    """Return the number and the digest of a writer's last checkpoint. Raises Invalid."""
    if item.get("id") != {"S": f"audit#{namespace}#{writer}"}:
        raise Invalid("id")
    require_version(item)
    line = typed_value(item, "checkpoint", "B", bytes)
    unsigned, _, end = line.rpartition(b',"mac":"')
    try:
        event: Any = json.loads(line)
    except ValueError:
        raise Invalid("checkpoint") from None
    named = event["writer"], event["number"], event["event"]
    if named != (writer, number(item, "number"), "checkpoint"):
        raise Invalid("checkpoint")
    if not re.fullmatch(rb'[0-9a-f]{64}"}', end):
        raise Invalid("mac")
    mac, digest = bytes.fromhex(end[:64].decode("ascii")), hashlib.sha256(unsigned + b"}").digest()
    if not verify(MAC_LABEL + digest, mac):
        raise Invalid("mac")
    return event["number"], hashlib.sha256(line).hexdigest()


def require_version(item: Item) -> None:
    if number(item, "version") != 1:
        raise Invalid("version")
