"""A vector as a test reads it back from its file."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))

Item = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Vector:
    """What a reader is given, and the outcome: a session, none, moved, invalid, or cannot tell."""

    namespace: str
    configured_context: Mapping[str, str]
    absolute_timeout: int | None
    grant_timeout: int | None
    not_before: int
    session_key: str
    now: float
    item: Item
    outcome: str
    plaintext: str | None
    reason: str | None
    kms: tuple[tuple[bytes, Mapping[str, str], bytes], ...]

    def unwrap(self, encrypted_key: bytes, context: Mapping[str, str]) -> bytes | None:
        """Return the data key, None where KMS calls the blob invalid."""
        for blob, bound_to, data_key in self.kms:
            if (blob, bound_to) == (encrypted_key, context):
                return data_key
        return None


def load(name: str, **more: Any) -> Vector:
    """Return a vector; ``more`` are members that files of its kind do not have."""
    content = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii")) | more
    return Vector(
        namespace=content["namespace"],
        configured_context=content["encryptionContext"],
        absolute_timeout=content["absoluteTimeout"],
        grant_timeout=content.get("grantTimeout"),
        not_before=content["notBefore"],
        session_key=content["sessionKey"],
        now=content["now"],
        item=from_dynamodb_json(content["item"]),
        outcome=content["expected"]["outcome"],
        plaintext=content["expected"].get("plaintext"),
        reason=content["expected"].get("reason"),
        kms=tuple(
            (
                base64.b64decode(each["encryptedKey"]),
                each["encryptionContext"],
                bytes.fromhex(each["dataKey"]),
            )
            for each in content["kms"]
        ),
    )


def from_dynamodb_json(item: Mapping[str, Mapping[str, Any]]) -> Item:
    """Return an item as boto3 gives it: B as bytes."""
    return {
        name: {
            kind: base64.b64decode(value, validate=True) if kind == "B" else value
            for kind, value in attribute.items()
        }
        for name, attribute in item.items()
    }
