"""Tokens: each decrypts an item of its own, sealed under the data key and the token.

The project decides what an item seals, such as the key of a session. A token is redeemed in one
transaction, which also writes its successors; the answer is stored beside it, sealed likewise, for
as long as it may be asked for again. Afterwards a tombstone says which session the token was for,
so that a client that presents it late can end that one. Knows neither clients nor grants.
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
from sessions_kms.storage.suspect_answers import Confirm, retry_invalid_read
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


def read_token_tombstone(item: Mapping[str, Any]) -> TokenTombstone | None:
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


@dataclass(frozen=True)
class SealedToken:
    """What a token opens, until a time in epoch seconds. ``stamp`` is new at each write of it."""

    id: str
    ttl: int
    stamp: bytes = field(repr=False)
    content: bytes = field(repr=False)


FoundToken: TypeAlias = SealedToken | TokenTombstone | None


@dataclass(frozen=True, repr=False)
class NewToken:
    """What is to be sealed under a token until a time, in epoch seconds."""

    token: str
    content: bytes
    ttl: int


@dataclass(frozen=True, repr=False, kw_only=True)
class Exchange:
    """A token that is spent for others, all at once or not at all.

    ``expected`` is the stamp that was read of it, and ``stamp`` the one that tells this exchange
    from others'; ``spent`` is what its item seals from now on, ``answer`` what the one beside it
    does. ``buried`` takes the place of the token that came before. ``forgotten`` is the id of a
    token whose answer nobody is to find any more.
    """

    expected: bytes
    stamp: bytes
    spent: NewToken
    answer: NewToken
    successors: Sequence[NewToken]
    buried: TokenTombstone | None = None
    forgotten: str | None = None


def _leave_to_dynamodb(item_id: str, ended_by: int) -> None:
    """Do nothing about an item that is over: DynamoDB deletes it, days later at times."""


def new_stamp() -> bytes:
    """Return a stamp that no other write has."""
    return os.urandom(STAMP_BYTES)


class Tokens:
    """The tokens of some services. All methods raise StoreUnavailable when they cannot tell.

    ``on_expired`` is called with the id of an item that a token was shown for and that is over,
    and with its end in epoch seconds. It must not wait.
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
        """Return what a token opens now; None where that is nothing, or not valid."""
        __traceback_hide__ = True
        item_id = self.id_of(token)
        try:
            return await retry_invalid_read(partial(self._found, item_id, token))
        except InvalidRecord as exc:
            _refuse(item_id, exc)
            return None

    async def answer(self, token: str) -> bytes | None:
        """Return what was answered to a spent token; None where that is not there any more."""
        __traceback_hide__ = True
        item_id = answer_id(self.id_of(token))
        try:
            return await retry_invalid_read(partial(self._answered, item_id, token))
        except InvalidRecord as exc:
            _refuse(item_id, exc)
            return None

    async def begin(self, new: NewToken) -> None:
        """Store the first token of all."""
        __traceback_hide__ = True
        item = await self._sealed(new, new_stamp())
        if not await self._table.put_stamped(item, expected=None):
            raise TableUnavailable("Another token has this id.")  # of 165 random bits

    async def exchange(self, exchange: Exchange) -> bool:
        """Spend a token; False where it is not as it was read, or a successor is there already.

        Raises FateUnknown where it may be spent, or may be yet: its stamp tells, or a successor.
        """
        __traceback_hide__ = True
        spent = await self._sealed(exchange.spent, exchange.stamp)
        answer = await self._record(exchange.answer, ANSWER)
        actions: list[Action] = [
            Put(spent, equal("stamp", as_binary(exchange.expected))),
            Put(answer.to_item()),
        ]
        for new in exchange.successors:
            item = await self._sealed(new, new_stamp())
            actions.append(Put(item, ABSENT))
        if exchange.buried is not None:
            actions.append(Put(exchange.buried.to_item()))
        if exchange.forgotten is not None:
            actions.append(Delete(answer_id(exchange.forgotten)))
        try:
            told = await self._table.transact(*actions)
        except TransactionCanceled:
            return False
        await self._check(exchange, told)
        return True

    async def _check(self, exchange: Exchange, told: Acknowledgement) -> None:
        """Raise FateUnknown unless an exchange is stored that DynamoDB said to be.

        A successor tells, if there is one: nothing else puts it, and the spent token may be a
        tombstone by now.
        """
        __traceback_hide__ = True
        token, attributes = exchange.spent.token, {"stamp": as_binary(exchange.stamp)}
        if exchange.successors:
            token, attributes = exchange.successors[0].token, {}
        return await self._table.require_left(self.id_of(token), partial(has, attributes), told)

    async def forget(self, of_token: str) -> bool:
        """Delete the answer to the token of an id; DynamoDB does so later if that fails."""
        with suppress(StoreUnavailable):
            return await self._table.delete(answer_id(of_token))
        return False

    async def remove(self, item_id: str, *, ended_by: int | None = None) -> bool:
        """Delete the item of a token or an answer; if told, only one that ended by then."""
        when = None if ended_by is None else ended_until(ended_by)
        return await self._table.delete(item_id, when=when)

    def id_of(self, token: str) -> str:
        """Return the id of the item that a token opens."""
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
        """Return True if a moment has passed, as surely as a clock can."""
        return has_passed(self._services.clock, moment)

    async def _found(self, item_id: str, token: str) -> FoundToken:
        __traceback_hide__ = True
        # Anybody can make up a token.
        item = await self._table.get(item_id, confirm=Confirm.LIMITED)
        if item is None:
            return None
        if (tombstone := read_token_tombstone(item)) is not None:
            return None if self._is_over(item_id, tombstone.ttl) else tombstone
        stamp = binary(item, "stamp", STAMP_BYTES)
        content = await self._opened(item, token, TOKEN)
        if content is None:
            return None
        return SealedToken(item_id, number(item, "ttl"), stamp, content)

    async def _answered(self, item_id: str, token: str) -> bytes | None:
        __traceback_hide__ = True
        item = await self._table.get(item_id, confirm=Confirm.LIMITED)
        return None if item is None else await self._opened(item, token, ANSWER)

    async def _opened(self, item: Item, token: str, item_type: ItemType) -> bytes | None:
        """Return what an item seals; None where that is over."""
        __traceback_hide__ = True
        record = SessionRecord.from_item(item, item_type)
        if len(record.encrypted_data) > CONTENT_MAX:
            raise InvalidRecord("encryptedData")
        if self._is_over(record.id, record.ttl):
            return None
        return await self._sealing.open(record, token)

    def _is_over(self, item_id: str, ttl: int) -> bool:
        if not self.has_passed(ttl):
            return False
        self._on_expired(item_id, ttl)
        return True

    async def _sealed(self, new: NewToken, stamp: bytes) -> Item:
        __traceback_hide__ = True
        record = await self._record(new, TOKEN)
        return record.to_item() | {"stamp": as_binary(stamp)}

    async def _record(self, new: NewToken, item_type: ItemType) -> SessionRecord:
        __traceback_hide__ = True
        seal = await self._sealing.seal(new.content)
        item_id = self.id_of(new.token)
        return seal.record(
            new.token,
            revision=1,
            created_at=seal.now,
            ttl=new.ttl,
            item_id=item_id if item_type is TOKEN else answer_id(item_id),
            item_type=item_type,
        )


def _refuse(item_id: str, error: InvalidRecord) -> None:
    """Tell who listens that an item was not taken for a token's."""
    word, _, digest = item_id.split("#", 2)
    logger.warning("The %s %s... was refused: %s", word, digest[:SHORT_ID], error.reason)
    telemetry.count("refusals", reason=error.reason)
