"""The vectors of documents: items that a fleet shares, decrypted with KMS and without a cookie."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.sessions_kms.support import reference_format as ref
from tests.vectors.case import (
    DATA_KEY,
    IV,
    NAMESPACE,
    NOW,
    OTHER_DATA_KEY,
    SESSION_KEY,
    Item,
    Wrapped,
    dynamodb_json,
    fixed,
    header,
)

FOLDER = "documents"
NAME = "pin/wiki"
CONTENT = '{"issuer": "https://wiki.example"}'
STAMP = fixed("stamp of a document", 16)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One vector; without content nobody can tell what the document is."""

    description: str
    item: Item
    content: str | None = None

    def to_text(self) -> str:
        """Return the content of the vector's file."""
        expected = (
            {"outcome": "cannot tell"}
            if self.content is None
            else {"outcome": "document", "content": self.content}
        )
        members = {
            "description": self.description,
            "namespace": NAMESPACE,
            "encryptionContext": {},
            "name": NAME,
            "now": NOW,
            "kms": [Wrapped().to_json()],
            "item": dynamodb_json(self.item),
            "expected": expected,
        }
        return json.dumps(members, indent=2) + "\n"


def sealed(
    content: str = CONTENT,
    *,
    name: str = NAME,
    secret: str | None = None,
    data_key: bytes = DATA_KEY,
    **changes: Any,
) -> Item:
    """Return a whole item."""
    item_id = ref.document_id(NAMESPACE, name)
    item = ref.seal(
        content.encode(),
        header(owner=None, revision=1) | {"id": {"S": item_id}} | changes,
        namespace=NAMESPACE,
        session_key=item_id if secret is None else secret,
        data_key=data_key,
        iv=IV,
    )
    return item | {"stamp": {"B": STAMP}}


def cases() -> Iterator[tuple[str, Case]]:
    """Yield each vector with its name."""
    yield "document", Case(description="A small document.", item=sealed(), content=CONTENT)
    nothing = Case(description="The smallest one.", item=sealed("{}"), content="{}")
    yield "without_members", nothing
    past = sealed(ttl={"N": str(NOW - 1)})
    yield "over", Case(description="Its `ttl` is over, but it exists.", item=past, content=CONTENT)
    for name, description, item in _bad():
        yield name, Case(description=description, item=item)


def _bad() -> Iterator[tuple[str, str, Item]]:
    data = sealed()["encryptedData"]["B"]
    flipped = {"encryptedData": {"B": bytes([data[0] ^ 1]) + data[1:]}}
    this_id = {"id": {"S": ref.document_id(NAMESPACE, NAME)}}
    ahead = {"N": str(NOW + 301)}
    yield "flipped", "Changed bytes.", sealed() | flipped
    yield "version_2", "Another format.", sealed(version={"N": "2"})
    yield "longer", "Its end was moved.", sealed() | {"ttl": {"N": str(NOW + 10**9)}}
    yield "stamp_of_15_bytes", "A stamp cut short.", sealed() | {"stamp": {"B": STAMP[:15]}}
    yield "data_key_other", "Sealed under another data key.", sealed(data_key=OTHER_DATA_KEY)
    yield "secret_of_a_session", "Sealed under a cookie.", sealed(secret=SESSION_KEY)
    yield "copied", "Another document, copied under this one's id.", sealed(name="pin/x") | this_id
    yield "updated_in_future", "Of a time to come.", sealed(updatedAt=ahead)
