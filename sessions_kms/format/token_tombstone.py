"""What stands in the place of a token that opens nothing any more, until its session must have
ended.

It says which session it was for, so that whoever presents the token late can end that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import (
    Item,
    as_binary,
    as_number,
    as_text,
    binary,
    number,
    text,
)
from sessions_kms.format.kinds import TOKEN, is_session_id

STAMP_BYTES: Final = 16


@dataclass(frozen=True, kw_only=True)
class TokenTombstone:
    """A token that was spent, and whose successor was. Times are epoch seconds.

    ``session`` is the id of the session, ``spent_at`` when the token was spent.
    """

    id: str
    session: str
    spent_at: int
    ttl: int
    stamp: bytes = field(repr=False)

    def to_item(self) -> Item:
        """Return it as a DynamoDB item."""
        return TOKEN.item(self.id) | {
            "ttl": as_number(self.ttl),
            "stamp": as_binary(self.stamp),
            "session": as_text(self.session),
            "spentAt": as_number(self.spent_at),
        }


def token_tombstone_in(item: Mapping[str, Any]) -> TokenTombstone | None:
    """Return the tombstone that a token's item is; None for a sealed one. Raises InvalidRecord.

    What has any part of a ciphertext is sealed, and somebody added to it.
    """
    if "spentAt" not in item or item.keys() & {"encryptedData", "authTag"}:
        return None
    TOKEN.version_of(item)
    found = TokenTombstone(
        id=text(item, "id"),
        session=text(item, "session"),
        spent_at=number(item, "spentAt"),
        ttl=number(item, "ttl"),
        stamp=binary(item, "stamp", STAMP_BYTES),
    )
    if not is_session_id(found.session):
        raise InvalidRecord("session")
    return found
