"""The vectors of key changes: ancestors in a record, and tombstones."""

from collections.abc import Iterator
from typing import Any

from tests.sessions_kms.support.reference_format import session_id
from tests.vectors.case import (
    NAMESPACE,
    NOW,
    SESSION,
    SESSION_KEY,
    Case,
    Item,
    fixed_bytes,
    seal_session,
)

Named = Iterator[tuple[str, Case]]


def cases() -> Named:
    yield from _ancestors()
    yield from _tombstones()


def _ancestors() -> Named:
    opened = {"outcome": "session", "plaintext": SESSION.decode("ascii")}
    for name, description, value in (
        ("one", "The record replaced one other.", {"B": fixed_bytes("ancestor", 8)}),
        ("sixteen", "As many ancestors as there may be.", {"B": fixed_bytes("ancestors", 128)}),
        (
            "seventeen",
            "Too many ancestors: they are ignored.",
            {"B": fixed_bytes("ancestors", 136)},
        ),
        (
            "of_12_bytes",
            "No whole number of ancestors: ignored.",
            {"B": fixed_bytes("ancestors", 12)},
        ),
        ("empty", "An empty list of ancestors: ignored.", {"B": b""}),
        ("of_type_s", "Ancestors of another type: ignored.", {"S": "ancestor"}),
    ):
        item = seal_session() | {"ancestors": value}
        yield f"ancestors_{name}", Case(description=description, expected=opened, item=item)


def _tombstones() -> Named:
    moved, none = {"outcome": "moved"}, {"outcome": "none"}
    for name, description, moved_at, expected in (
        ("now", "The session's key is just changed.", NOW, moved),
        ("14_seconds_old", "The answer with the new key may be on its way.", NOW - 14, moved),
        ("15_seconds_old", "Who does not have the new key by now never gets it.", NOW - 15, none),
        ("300_seconds_ahead", "Another machine's clock is ahead.", NOW + 300, moved),
        ("301_seconds_ahead", "No clock is so far ahead.", NOW + 301, none),
        ("expired", "A tombstone that DynamoDB has not deleted yet.", NOW - 700, none),
    ):
        item = tombstone(moved_at)
        yield f"tombstone_{name}", Case(description=description, expected=expected, item=item)
    yield _invalid("tombstone_of_version_2", "version", "Another format.", version={"N": "2"})
    yield _invalid("tombstone_of_type_s", "movedAt", "No number.", movedAt={"S": str(NOW)})
    yield (
        "tombstone_beside_a_record",
        Case(
            description="A record with an attribute that it does not have is a record.",
            expected={"outcome": "session", "plaintext": SESSION.decode("ascii")},
            item=seal_session() | {"movedAt": {"N": str(NOW)}},
        ),
    )
    partial = seal_session() | {"movedAt": {"N": str(NOW)}}
    del partial["encryptedData"]
    yield (
        "tombstone_beside_an_auth_tag",
        Case(
            description="A record that lost its ciphertext is a record all the same.",
            expected={"outcome": "invalid", "reason": "encryptedData"},
            item=partial,
        ),
    )


def tombstone(moved_at: int, **changes: Any) -> Item:
    """Return the item that replaces a session whose key was changed."""
    return {
        "id": {"S": session_id(NAMESPACE, SESSION_KEY)},
        "version": {"N": "1"},
        "movedAt": {"N": str(moved_at)},
        "ttl": {"N": str(moved_at + 600)},
    } | changes


def _invalid(name: str, reason: str, description: str, **changes: Any) -> tuple[str, Case]:
    expected = {"outcome": "invalid", "reason": reason}
    return name, Case(description=description, expected=expected, item=tombstone(NOW, **changes))
