"""An independent decryptor of a whole table, written from docs/format.md alone.

It shares no line with the product or with the generator of the vectors. It takes all items of a
table, the rights to `Decrypt` and `VerifyMac`, and what people and clients hold: cookies, tokens,
codes with their verifiers. It opens what these open and follows the secrets in it: grants' keys and
leases. It raises `Unreadable` for an item that the page does not describe, or whose data key or
checkpoint KMS does not confirm.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Item = Mapping[str, Mapping[str, Any]]
SUITE = "sessions_kms/1"
SEALED = {
    "id": "S",
    "version": "N",
    "encryptedData": "B",
    "iv": "B",
    "authTag": "B",
    "encryptedKey": "B",
    "keyPeriod": "N",
    "salt": "B",
    "commitment": "B",
    "createdAt": "N",
    "updatedAt": "N",
    "ttl": "N",
    "revision": "N",
}
LENGTHS = {"iv": (12, 12), "authTag": (16, 16), "salt": (16, 16), "commitment": (32, 32)}
LENGTHS |= {"encryptedKey": (1, 6144), "encryptedData": (0, 409_600), "stamp": (16, 16)}
LENGTHS |= {"checkpoint": (0, 16_384)}
MAC_LABEL = b"gateway audit checkpoint 1\0"
DATA_MAX = {"about": 16_384, "token": 32_768, "answer": 32_768, "document": 65_536}
UNSEALED = {
    "data-key": {"keyPeriod": "N", "encryptedKey": "B", "createdAt": "N", "ttl": "N"},
    "not-before": {"notBefore": "N"},
    "moved": {"ttl": "N"},
    "lease": {"ttl": "N", "holder": "S", "ends": "N", "stamp": "B"},
    "logout": {"ttl": "N"},
    "token": {"ttl": "N", "stamp": "B", "session": "S", "spentAt": "N"},
    "session": {"movedAt": "N", "ttl": "N"},
    "audit": {"owner": "S", "createdAt": "N", "ttl": "N", "stamp": "B", "number": "N"}
    | {"checkpoint": "B"},
}
STAMPED = {"token", "document", "lease"}


class Unreadable(Exception):
    """An item is not as the page says."""


@dataclass
class Decryptor:
    """One namespace of a table. ``unwrap`` is KMS's Decrypt; timeouts are in seconds.

    ``is_signed`` is VerifyMac, of a message and a MAC.
    """

    namespace: str
    unwrap: Callable[[bytes, Mapping[str, str]], bytes]
    now: float
    absolute_timeout: int
    grant_timeout: int
    is_signed: Callable[[bytes, bytes], bool] = lambda message, mac: False
    opened: dict[str, Any] = field(default_factory=dict)  # contents by id
    plain: set[str] = field(default_factory=set)  # ids of items without a ciphertext

    def open_all(self, items: Mapping[str, Item], secrets: Iterable[str]) -> set[str]:
        """Open what these secrets open; return the ids of sealed items that stay closed."""
        waiting = list(secrets)
        for item_id, item in items.items():
            kind = kind_of(item_id)
            if not {"encryptedData", "authTag"} & item.keys():
                check(item, UNSEALED[kind] | {"id": "S", "version": "N"})
                self.plain.add(item_id)
                if kind == "data-key":
                    self.check_data_key(item)
                if kind == "audit":
                    self.check_checkpoint(item)
            elif kind in {"about", "document"}:
                self.opened[item_id] = self.open(item, item_id)
        while waiting:
            secret = waiting.pop()
            for item_id in self.ids_of(secret):
                if item_id in items.keys() - self.opened.keys() - self.plain:
                    content = self.open(items[item_id], secret)
                    self.opened[item_id] = content
                    waiting += secrets_in(content)
        return items.keys() - self.opened.keys() - self.plain

    def ids_of(self, secret: str) -> list[str]:
        """Return the ids of the items that a secret may open."""
        if re.fullmatch("[a-z0-9]{32}", secret):
            lease = f"lease#{self.namespace}#{self.digest('lease', secret)}"
            return [self.digest("id", secret), lease]
        if not re.fullmatch(r"gw[car]_[a-z0-9]{32}([A-Za-z0-9._~-]{43,128})?", secret):
            return []
        name = self.digest("token", secret[:36])
        if len(secret) > 36:  # a code and its verifier
            return [f"answer#{self.namespace}#{name}"]
        response = [] if secret.startswith("gwc_") else [f"answer#{self.namespace}#{name}"]
        return [f"token#{self.namespace}#{name}", *response]

    def digest(self, label: str, secret: str) -> str:
        hashed = f"{SUITE}/{label}\0{self.namespace}\0{secret}".encode()
        return base64.urlsafe_b64encode(hashlib.sha256(hashed).digest()).decode().rstrip("=")

    def open(self, item: Item, secret: str) -> Any:
        """Check and decrypt a sealed item; return what its JSON says."""
        kind = kind_of(item["id"]["S"])
        check(item, SEALED | ({"stamp": "B"} if kind in STAMPED else {}))
        if len(item["encryptedData"]["B"]) > DATA_MAX.get(kind, 409_600):
            raise Unreadable("encryptedData")
        numbers = {name: int(value["N"]) for name, value in item.items() if "N" in value}
        self.check_times(kind, numbers)
        data_key = self.data_key_of(item)
        hashed = hashlib.sha256(f"{SUITE}/secret\0{secret}".encode()).digest()
        named = fields(item, "version", "revision", "updatedAt")
        info = prefix_lengths(SUITE, kind, self.namespace, item["id"]["S"], *named)
        prk = hmac.digest(item["salt"]["B"], data_key + hashed, "sha256")
        key = hmac.digest(prk, info + b"\x01", "sha256")
        commitment = hmac.digest(prk, key + info + b"\x02", "sha256")
        if not hmac.compare_digest(commitment, item["commitment"]["B"]):
            raise Unreadable("commitment")
        times = fields(item, "version", "createdAt", "updatedAt", "ttl", "revision")
        owner = item["owner"]["S"] if "owner" in item else ""
        associated = prefix_lengths(
            SUITE, self.namespace, item["id"]["S"], *times, owner, item["salt"]["B"], commitment
        )
        sealed = item["encryptedData"]["B"] + item["authTag"]["B"]
        return json.loads(AESGCM(key).decrypt(item["iv"]["B"], sealed, associated))

    def data_key_of(self, item: Item) -> bytes:
        context = {"purpose": "sessions_kms", "namespace": self.namespace}
        return self.unwrap(item["encryptedKey"]["B"], context | {"period": item["keyPeriod"]["N"]})

    def check_data_key(self, item: Item) -> None:
        if item["id"]["S"] != f"data-key#{self.namespace}#{item['keyPeriod']['N']}":
            raise Unreadable("keyPeriod")
        self.data_key_of(item)

    def check_checkpoint(self, item: Item) -> None:
        line = item["checkpoint"]["B"]
        event, writer = json.loads(line), item["id"]["S"].split("#", maxsplit=2)[2]
        named = {"writer": writer, "number": int(item["number"]["N"]), "event": "checkpoint"}
        if not named.items() <= event.items() or item["owner"]["S"] != f"audit#{self.namespace}":
            raise Unreadable("checkpoint")
        unsigned, _, mac = line.rpartition(b',"mac":"')
        message = MAC_LABEL + hashlib.sha256(unsigned + b"}").digest()
        if not re.fullmatch(rb'[0-9a-f]{64}"}', mac) or not self.is_signed(
            message, bytes.fromhex(mac[:64].decode())
        ):
            raise Unreadable("mac")

    def check_times(self, kind: str, numbers: Mapping[str, int]) -> None:
        created, updated, period = (numbers[n] for n in ("createdAt", "updatedAt", "keyPeriod"))
        longest = max(self.absolute_timeout, self.grant_timeout)
        ends = {
            "document": [updated + 400 * 86_400],
            "about": [created + longest],
            "session": [numbers["ttl"], created + longest],
            "token": [numbers["ttl"], created + self.grant_timeout],
            "answer": [numbers["ttl"], created + self.grant_timeout],
            "lease": [numbers["ttl"]],
        }[kind]
        if min(ends) <= self.now:
            raise Unreadable("ended")
        if updated > self.now + 300 or created > updated + 300:
            raise Unreadable("times")
        if not period <= updated <= period + 691_200:
            raise Unreadable("key_period")


def kind_of(item_id: str) -> str:
    return item_id.split("#", maxsplit=1)[0] if "#" in item_id else "session"


def check(item: Item, attributes: Mapping[str, str]) -> None:
    """Raise Unreadable unless an item has these attributes, in their form."""
    for name, type_ in attributes.items():
        value = item.get(name, {}).get(type_)
        if value is None or len(item[name]) != 1:
            raise Unreadable(name)
        if type_ == "N" and not re.fullmatch("0|[1-9][0-9]{0,37}", value):
            raise Unreadable(name)
        shortest, longest = LENGTHS.get(name, (0, 409_600))
        if type_ == "B" and not shortest <= len(value) <= longest:
            raise Unreadable(name)
    if item["version"]["N"] != "1":
        raise Unreadable("version")


def fields(item: Item, *names: str) -> list[str]:
    return [item[name]["N"] for name in names]


def prefix_lengths(*parts: str | bytes) -> bytes:
    whole = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in whole)


def secrets_in(content: Any) -> list[str]:
    """Return the secrets that a content leads to: a grant's key, tokens, the leases of tokens."""
    if not isinstance(content, dict):
        return []
    found = [content.get(name) for name in ("key", "access_token", "refresh_token")]
    token_sets = [value for name, value in content.items() if name.startswith("oauth:")]
    found += [each.get("grant_secret") for each in [*token_sets, content.get("token_set") or {}]]
    return [each for each in found if isinstance(each, str)]
