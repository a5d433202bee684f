"""The vectors of leases, data keys, cutoffs and checkpoints."""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.sessions_kms.support import reference_format as ref
from tests.sessions_kms.support import reference_items as items
from tests.vectors.case import (
    DATA_KEY,
    DAY,
    ENCRYPTED_KEY,
    IV,
    NAMESPACE,
    NOW,
    OTHER_DATA_KEY,
    PERIOD,
    SESSION_KEY,
    TTL,
    Item,
    Wrapped,
    fixed_bytes,
    flip_data,
    header,
    vector_text,
)

LEASES, DATA_KEYS, CUTOFFS, CHECKPOINTS = "leases", "data_keys", "cutoffs", "checkpoints"
SECRET = "lease0123456789abcdefghijklmnopq"
STAMP = fixed_bytes("stamp of a lease", 16)
RESULT = '{"refused": "invalid_grant"}'
WRITER, MAC_KEY = "0123456789abcdef", fixed_bytes("HMAC key", 32)
CANNOT_TELL, UNUSABLE, INVALID = (
    {"outcome": each} for each in ("cannot tell", "unusable", "invalid")
)


@dataclass(frozen=True, kw_only=True)
class Other:
    """One vector. ``given`` are the members of its folder."""

    description: str
    given: Mapping[str, Any]
    item: Item
    expected: Mapping[str, Any]
    kms: tuple[Wrapped, ...] = field(default=(Wrapped(),))

    def to_text(self) -> str:
        """Return the content of the vector's file."""
        return vector_text(self.description, self.item, self.kms, self.expected, **self.given)


def cases() -> Iterator[tuple[str, Other]]:
    """Yield each vector with its path."""
    for folder, given, made in (
        (LEASES, {"leaseSecret": SECRET}, _leases()),
        (DATA_KEYS, {"period": PERIOD}, _data_keys()),
        (CUTOFFS, {"name": None}, _cutoffs()),
        (CHECKPOINTS, {"writer": WRITER, "macKey": MAC_KEY.hex()}, _checkpoints()),
    ):
        for name, description, item, expected in made:
            case = Other(description=description, given=given, item=item, expected=expected)
            yield f"{folder}/{name}", case


Described = Iterator[tuple[str, str, Item, Mapping[str, Any]]]


def lease(ends: int, **changes: Any) -> Item:
    """Return a lease without a result."""
    item: Item = {
        "id": {"S": items.lease_id(NAMESPACE, SECRET)},
        "version": {"N": "1"},
        "ttl": {"N": str(NOW + 3600)},
        "holder": {"S": "holder"},
        "ends": {"N": str(ends)},
        "stamp": {"B": STAMP},
    }
    return item | changes


def result(secret: str = SECRET, data_key: bytes = DATA_KEY, **changes: Any) -> Item:
    """Return a lease with a result."""
    item_id = {"id": {"S": items.lease_id(NAMESPACE, SECRET)}}
    sealed = ref.seal(
        RESULT.encode(),
        header(owner=None, revision=1) | item_id | changes,
        namespace=NAMESPACE,
        session_key=secret,
        data_key=data_key,
        iv=IV,
    )
    return sealed | {"holder": {"S": "holder"}, "ends": {"N": "0"}, "stamp": {"B": STAMP}}


def _leases() -> Described:
    found, free, held = {"outcome": "result", "plaintext": RESULT}, {"outcome": "free"}, "held"
    yield "result", "The work is done.", result(), found
    yield "result_over", "Its time is over.", result(ttl={"N": str(NOW)}), free
    for name, ends in (("held", NOW + 15), ("held_for_another_second", NOW - 4)):
        yield name, "A process does the work.", lease(ends), {"outcome": held, "until": ends + 5}
    yield "over_since_five_seconds", "Another process may take it.", lease(NOW - 5), free
    other = {"id": {"S": items.lease_id(NAMESPACE, SECRET[::-1])}}
    ahead = {"N": str(NOW + 301)}
    for name, description, item in (
        ("flipped", "Changed bytes.", flip_data(result())),
        ("longer", "Its end was moved.", result() | {"ttl": {"N": str(TTL + 1)}}),
        ("version_2", "Another format.", lease(NOW + 15, version={"N": "2"})),
        ("stamp_of_15_bytes", "A stamp cut short.", lease(NOW + 15, stamp={"B": STAMP[:15]})),
        (
            "holder_missing",
            "Nobody holds it.",
            {k: v for k, v in lease(0).items() if k != "holder"},
        ),
        ("of_another_secret", "Another lease.", lease(NOW - 5) | other),
        ("sealed_with_a_cookie", "Sealed under a cookie.", result(SESSION_KEY)),
        ("sealed_with_its_id", "Sealed under its id.", result(items.lease_id(NAMESPACE, SECRET))),
        ("data_key_other", "Sealed under another data key.", result(data_key=OTHER_DATA_KEY)),
        ("updated_in_future", "Of a time to come.", result(updatedAt=ahead)),
    ):
        yield name, description, item, CANNOT_TELL


def data_key(**changes: Any) -> Item:
    """Return a published data key."""
    item: Item = {
        "id": {"S": items.data_key_id(NAMESPACE, PERIOD)},
        "version": {"N": "1"},
        "keyPeriod": {"N": str(PERIOD)},
        "encryptedKey": {"B": ENCRYPTED_KEY},
        "createdAt": {"N": str(PERIOD)},
        "ttl": {"N": str(PERIOD + 2 * DAY)},
    }
    return item | changes


def _data_keys() -> Described:
    ours = {"outcome": "data key", "dataKey": DATA_KEY.hex()}
    yield "published", "The fleet's.", data_key(), ours
    yield "replaced", "It replaced one that leaked.", data_key(replacedAt={"N": str(NOW)}), ours
    yield "over", "Its `ttl` does not count.", data_key(ttl={"N": str(NOW - 1)}), ours
    blob = data_key(encryptedKey={"B": ENCRYPTED_KEY[:-1]})
    yield "blob_invalid", "KMS calls the blob invalid.", blob, {"outcome": "replace"}
    for name, description, changes in (
        ("of_another_period", "Of another period.", {"keyPeriod": {"N": str(PERIOD - DAY)}}),
        ("version_2", "Another format.", {"version": {"N": "2"}}),
        ("blob_empty", "No blob.", {"encryptedKey": {"B": b""}}),
        ("blob_too_long", "6,145 bytes.", {"encryptedKey": {"B": bytes(6145)}}),
        ("replaced_as_text", "A time that is text.", {"replacedAt": {"S": "1"}}),
    ):
        yield name, description, data_key(**changes), UNUSABLE
    other = data_key(id={"S": items.data_key_id("other", PERIOD)})
    yield "of_another_namespace", "Another item.", other, CANNOT_TELL


def _cutoffs() -> Described:
    def cutoff(**changes: Any) -> Item:
        item_id = {"S": f"not-before#{NAMESPACE}"}
        return {"id": item_id, "version": {"N": "1"}, "notBefore": {"N": str(NOW - 60)}} | changes

    for name, moment in (("past", NOW - 60), ("zero", 0), ("300_seconds_ahead", NOW + 300)):
        item = cutoff(notBefore={"N": str(moment)})
        yield name, "It counts.", item, {"outcome": "cutoff", "notBefore": moment}
    ahead = cutoff(notBefore={"N": str(NOW + 301)})
    yield "301_seconds_ahead", "It would lock everybody out.", ahead, {"outcome": "ignored"}
    for name, description, changes in (
        ("version_2", "Another format.", {"version": {"N": "2"}}),
        ("text", "No number.", {"notBefore": {"S": "1"}}),
        ("fraction", "No whole number.", {"notBefore": {"N": "1.5"}}),
        ("named", "Another cutoff.", {"id": {"S": f"not-before#{NAMESPACE}#corp"}}),
    ):
        yield name, description, cutoff(**changes), CANNOT_TELL


def checkpoint(number: int = 7, mac_key: bytes = MAC_KEY, label: bytes = items.MAC_LABEL) -> bytes:
    """Return the line of a checkpoint."""
    event = {
        "writer": WRITER,
        "number": number,
        "previous": hashlib.sha256(b"the line before").hexdigest(),
        "time": "2027-01-15T08:00:00.000Z",
        "event": "checkpoint",
        "namespace": NAMESPACE,
        "host": "gateway-1",
        "is_last": False,
        "heads": {},
    }
    unsigned = json.dumps(event, separators=(",", ":")).encode()
    mac = hmac.digest(mac_key, label + hashlib.sha256(unsigned).digest(), "sha256")
    return unsigned[:-1] + b',"mac":"' + mac.hex().encode() + b'"}'


def _checkpoints() -> Described:
    def writer(line: bytes = checkpoint(), **changes: Any) -> Item:
        item: Item = {
            "id": {"S": f"audit#{NAMESPACE}#{WRITER}"},
            "version": {"N": "1"},
            "owner": {"S": f"audit#{NAMESPACE}"},
            "createdAt": {"N": str(NOW - 3600)},
            "ttl": {"N": str(NOW + 400 * DAY)},
            "stamp": {"B": STAMP},
            "number": {"N": "7"},
            "checkpoint": {"B": line},
        }
        return item | changes

    digest = hashlib.sha256(checkpoint()).hexdigest()
    yield (
        "checkpoint",
        "The last one.",
        writer(),
        {"outcome": "valid", "number": 7, "digest": digest},
    )
    changed = checkpoint().replace(b"gateway-1", b"gateway-2")
    start, _, mac = checkpoint().rpartition(b':"')
    short = checkpoint()[:-4] + b'"}'
    capitals = start + b':"' + mac[:-2].upper() + b'"}'
    spaced = start + b':"' + mac[:2] + b" " + mac[2:]
    for name, description, item in (
        ("changed", "A changed line.", writer(changed)),
        ("mac_of_another_key", "Another HMAC key.", writer(checkpoint(mac_key=bytes(32)))),
        ("mac_of_the_digest_alone", "Without the label.", writer(checkpoint(label=b""))),
        ("mac_cut", "31 bytes of the MAC.", writer(short)),
        ("mac_in_capitals", "Capital digits.", writer(capitals)),
        ("mac_with_a_space", "A space in the MAC.", writer(spaced)),
        ("without_mac", "No MAC.", writer(checkpoint().partition(b',"mac"')[0] + b"}")),
        ("number_of_another_line", "Another number.", writer(number={"N": "8"})),
        ("of_another_writer", "Another writer's line.", writer(changed.replace(b"0123", b"3210"))),
        ("version_2", "Another format.", writer(version={"N": "2"})),
    ):
        yield name, description, item, INVALID
