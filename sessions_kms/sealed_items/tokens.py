"""Tokens: each decrypts a separate item, sealed under the data key and the token.

The caller decides the content of an item, such as the key of a session. A token is redeemed in one
transaction, which also writes its successors; the answer is stored beside it, sealed in the same
way, for as long as a client may repeat its request. Afterwards a tombstone names the session of the
token: a client that presents the token late ends that session. This module does not depend on
clients or grants.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from sessions_kms.aws.clock import has_passed
from sessions_kms.aws.errors import TransactionCanceled
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable, TableUnavailable
from sessions_kms.format.attributes import (
    Item,
    as_binary,
    as_number,
    as_text,
    binary,
    number,
    text,
)
from sessions_kms.format.item_types import (
    ANSWER,
    SHORT_ID,
    TOKEN,
    ItemType,
    answer_id,
    is_session_id,
    token_id,
)
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services
from sessions_kms.storage.suspect_responses import Confirm, retry_invalid_read
from sessions_kms.storage.table import has
from sessions_kms.storage.writes import (
    ABSENT,
    Acknowledgement,
    Action,
    Delete,
    Put,
    ended_until,
    equal,
)
from sessions_kms.telemetry import telemetry

logger = logging.getLogger(__name__)

STAMP_BYTES: Final = 16
CONTENT_MAX: Final = 32 * 1024  # bytes


@dataclass(frozen=True, kw_only=True)
class TokenTombstone:
    """A token that was redeemed, as was its successor. Times are epoch seconds.

    ``session`` is the id of the session, ``spent_at`` when the token was redeemed.
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


def read_token_tombstone(item: Mapping[str, Any]) -> TokenTombstone | None:
    """Return the tombstone in a token's item; None for a sealed one. Raises InvalidRecord.

    An item with any part of a ciphertext is sealed, whatever was added to it.
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


@dataclass(frozen=True)
class SealedToken:
    """The decrypted content of a token, and its end. ``stamp`` changes with each write."""

    id: str
    ttl: int
    stamp: bytes = field(repr=False)
    content: bytes = field(repr=False)


FoundToken: TypeAlias = SealedToken | TokenTombstone | None


@dataclass(frozen=True, repr=False)
class NewToken:
    """Content to seal under a token, and its end in epoch seconds.

    With a ``verifier`` it is sealed under both, under the id of the token alone.
    """

    token: str
    content: bytes
    ttl: int
    verifier: str = ""

    @property
    def secret(self) -> str:
        """What the content is sealed under; all tokens have the same length."""
        return self.token + self.verifier


@dataclass(frozen=True, repr=False, kw_only=True)
class Exchange:
    """A token redeemed for its successors, in one transaction.

    ``expected`` is the stamp that was read with the token, and ``stamp`` the new one, which
    identifies this exchange. ``spent`` is the new content of the token's item, ``answer`` that of
    the item beside it. ``buried`` replaces the previous token. ``forgotten`` is the id of a token
    whose answer is deleted, ``deleted`` that of one that is deleted.
    """

    expected: bytes
    stamp: bytes
    spent: NewToken
    answer: NewToken
    successors: Sequence[NewToken]
    buried: TokenTombstone | None = None
    forgotten: str | None = None
    deleted: str | None = None


def _leave_to_dynamodb(item_id: str, ended_by: int) -> None:
    """Do nothing about an expired item: DynamoDB deletes it, sometimes days later."""


def new_stamp() -> bytes:
    """Return a unique stamp for a write."""
    return os.urandom(STAMP_BYTES)


class Tokens:
    """The tokens of some services. All methods raise StoreUnavailable without a usable response.

    ``on_expired`` is called with the id of an expired item whose token was presented, and with
    its end in epoch seconds. It must not block.
    """

    def __init__(
        self,
        services: Services,
        on_expired: Callable[[str, int], object] = _leave_to_dynamodb,
    ) -> None:
        self._services = services
        self._on_expired = on_expired
        self._sealing = Sealing(services)
        self._table = services.table

    async def find(self, token: str) -> FoundToken:
        """Return what is stored for a token; None if it is missing or invalid."""
        __traceback_hide__ = True
        item_id = self.id_of(token)
        try:
            return await retry_invalid_read(partial(self._read_token, item_id, token))
        except InvalidRecord as exc:
            _refuse(item_id, exc)
            return None

    async def answer(self, token: str, verifier: str = "") -> bytes | None:
        """Return the answer to a redeemed token; None if it was deleted.

        ``verifier`` is that with which it was sealed.
        """
        __traceback_hide__ = True
        item_id = answer_id(self.id_of(token))
        try:
            return await retry_invalid_read(partial(self._read_answer, item_id, token + verifier))
        except InvalidRecord as exc:
            _refuse(item_id, exc)
            return None

    async def begin(self, new: NewToken) -> None:
        """Store the first token of a grant."""
        __traceback_hide__ = True
        item = await self._seal_item(new, new_stamp())
        if not await self._table.put_stamped(item, expected=None):
            raise TableUnavailable("Another token has this id.")  # of 165 random bits

    async def exchange(self, exchange: Exchange) -> bool:
        """Redeem a token; return False if it has changed since it was read, or a successor exists.

        Raises FateUnknown if it may be redeemed, now or later: its stamp or a successor shows it.
        """
        __traceback_hide__ = True
        spent = await self._seal_item(exchange.spent, exchange.stamp)
        answer = await self._seal_record(exchange.answer, ANSWER)
        actions: list[Action] = [
            Put(spent, equal("stamp", as_binary(exchange.expected))),
            Put(answer.to_item()),
        ]
        for new in exchange.successors:
            item = await self._seal_item(new, new_stamp())
            actions.append(Put(item, ABSENT))
        if exchange.buried is not None:
            actions.append(Put(exchange.buried.to_item()))
        if exchange.forgotten is not None:
            actions.append(Delete(answer_id(exchange.forgotten)))
        if exchange.deleted is not None:
            actions.append(Delete(exchange.deleted))
        try:
            acknowledgement = await self._table.transact(*actions)
        except TransactionCanceled:
            return False
        await self._check(exchange, acknowledgement)
        return True

    async def _check(self, exchange: Exchange, acknowledgement: Acknowledgement) -> None:
        """Raise FateUnknown unless an exchange that DynamoDB acknowledged is stored.

        A successor is the proof, if there is one: nothing else puts it, and the redeemed token
        may be a tombstone by now.
        """
        __traceback_hide__ = True
        token, attributes = exchange.spent.token, {"stamp": as_binary(exchange.stamp)}
        if exchange.successors:
            token, attributes = exchange.successors[0].token, {}
        return await self._table.require_as_written(
            self.id_of(token), partial(has, attributes), acknowledgement
        )

    async def forget(self, of_token: str) -> bool:
        """Delete the answer to the token of an id; DynamoDB does so later if that fails."""
        with suppress(StoreUnavailable):
            return await self._table.delete(answer_id(of_token))
        return False

    async def remove(self, item_id: str, *, ended_by: int | None = None) -> bool:
        """Delete the item of a token or an answer; with ``ended_by`` only if it ended by then."""
        when = None if ended_by is None else ended_until(ended_by)
        return await self._table.delete(item_id, when=when)

    def id_of(self, token: str) -> str:
        """Return the id of a token's item."""
        __traceback_hide__ = True
        return token_id(self._services.config.namespace, token)

    @staticmethod
    def answer_beside(item_id: str) -> str:
        """Return the id of the answer to a token, by the id of the token's item."""
        return answer_id(item_id)

    def now(self) -> float:
        """Return the time, in epoch seconds."""
        return self._services.clock()

    def has_passed(self, moment: float) -> bool:
        """Return True if a time has passed, as far as the clock can be trusted."""
        return has_passed(self._services.clock, moment)

    async def _read_token(self, item_id: str, token: str) -> FoundToken:
        __traceback_hide__ = True
        # Anyone can send an invalid token.
        item = await self._table.get(item_id, confirm=Confirm.LIMITED)
        if item is None:
            return None
        if (tombstone := read_token_tombstone(item)) is not None:
            return None if self._is_over(item_id, tombstone.ttl) else tombstone
        stamp = binary(item, "stamp", STAMP_BYTES)
        content = await self._open(item, token, TOKEN)
        if content is None:
            return None
        return SealedToken(item_id, number(item, "ttl"), stamp, content)

    async def _read_answer(self, item_id: str, secret: str) -> bytes | None:
        __traceback_hide__ = True
        item = await self._table.get(item_id, confirm=Confirm.LIMITED)
        return None if item is None else await self._open(item, secret, ANSWER)

    async def _open(self, item: Item, secret: str, item_type: ItemType) -> bytes | None:
        """Decrypt an item; return None if it has expired, or its grant must have ended.

        A forger chooses `ttl`, but neither of the times of the data key's period.
        """
        __traceback_hide__ = True
        record = SessionRecord.from_item(item, item_type)
        if len(record.encrypted_data) > CONTENT_MAX:
            raise InvalidRecord("encryptedData")
        grant_age = self._services.config.grant_age
        if self._is_over(record.id, min(record.ttl, record.created_at + grant_age)):
            return None
        return await self._sealing.open(record, secret, item_type)

    def _is_over(self, item_id: str, ttl: int) -> bool:
        if not self.has_passed(ttl):
            return False
        self._on_expired(item_id, ttl)
        return True

    async def _seal_item(self, new: NewToken, stamp: bytes) -> Item:
        __traceback_hide__ = True
        record = await self._seal_record(new, TOKEN)
        return record.to_item() | {"stamp": as_binary(stamp)}

    async def _seal_record(self, new: NewToken, item_type: ItemType) -> SessionRecord:
        __traceback_hide__ = True
        item_id = self.id_of(new.token)
        return await self._sealing.seal_item(
            new.content,
            new.secret,
            item_id=item_id if item_type is TOKEN else answer_id(item_id),
            item_type=item_type,
            ttl=new.ttl,
        )


def _refuse(item_id: str, error: InvalidRecord) -> None:
    """Log and count an item that was rejected."""
    word, _, digest = item_id.split("#", 2)
    logger.warning("The %s %s... was refused: %s", word, digest[:SHORT_ID], error.reason)
    telemetry.count("refusals", reason=error.reason)
