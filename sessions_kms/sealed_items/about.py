"""What lists show of a session: a few words of the project's choice, such as its browser's family.

A session carries them under the key `ABOUT`. While somebody is signed in they are also in an
item of their own, which moves with the session's key and opens without the visitor's cookie: it
is sealed under the data key and a secret made of its own id, so with KMS, not with the table
alone. Nothing depends on it: without it a list shows times only.

A grant's session tells which OAuth client it is of, by two words that no other has.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.item_types import ABOUT as ABOUT_ITEM
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services

ABOUT: Final = "_about"
CLIENT: Final = "client"  # what the client of a grant calls itself
CLIENT_ID: Final = "client_id"  # its id, as `short_client_id` has it
WORDS_MAX: Final = 8
LETTERS_MAX: Final = 100  # of a name or a word
BYTES_MAX: Final = 16 * 1024  # that WORDS_MAX have at most, however JSON spells them

Words = dict[str, str]


class LabelledSession(Protocol):
    """What is known to be stored of a session (`session.repository.LoadedVersion`)."""

    @property
    def created_at(self) -> int: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def labels(self) -> Words: ...


def words_in(session: Mapping[str, Any]) -> Words:
    """Return the words that a session carries; none where they are more than it may."""
    __traceback_hide__ = True
    return _words(session.get(ABOUT))


def is_of_grant(words: Words) -> bool:
    """Tell whether words are those of a grant."""
    return CLIENT in words


def short_client_id(client_id: str) -> str:
    """Return the id of a client as words tell it: a long one by its digest."""
    if len(client_id) <= LETTERS_MAX:
        return client_id
    return "sha256:" + hashlib.sha256(client_id.encode()).hexdigest()


def id_of(services: Services, session_id: str) -> str:
    """Return the id of the item about a session."""
    return ABOUT_ITEM.id_in(services.config.namespace, session_id)


def told(state: LabelledSession) -> Words:
    """Return the words that are in an item of their own: those of a session with a user."""
    return {} if state.user_id is None else state.labels


def is_due(
    services: Services, record: SessionRecord, after: LabelledSession, before: LabelledSession
) -> bool:
    """Tell whether a save must write the item: its words are new, or it ends at another time."""
    moved = services.config.absolute_timeout is None or record.created_at != before.created_at
    return bool(told(after)) and (moved or told(after) != told(before))


def _words(found: object) -> Words:
    if not isinstance(found, dict) or len(found) > WORDS_MAX:
        return {}
    return dict(found) if all(map(_is_word, [*found.keys(), *found.values()])) else {}


def _is_word(found: object) -> bool:
    return isinstance(found, str) and len(found) <= LETTERS_MAX


class About:
    """The items about the sessions of some services."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sealing = Sealing(services)

    async def sealed(self, record: SessionRecord, words: Words) -> Item:
        """Return the item about a session, which ends when that can end at the latest.

        Raises StoreUnavailable.
        """
        timeout = self._services.config.absolute_timeout
        item_id = id_of(self._services, record.id)
        seal = await self._sealing.seal(json.dumps(words).encode())
        return seal.record(
            item_id,
            revision=1,
            created_at=record.created_at,
            ttl=record.ttl if timeout is None else record.created_at + timeout,
            item_id=item_id,
            item_type=ABOUT_ITEM,
        ).to_item()

    async def write(self, record: SessionRecord, words: Words) -> None:
        """Write the item of a session that is about to be stored, if that can be done now."""
        if words:
            with suppress(StoreUnavailable):
                item = await self.sealed(record, words)
                await self._services.table.put(item, sure=False)

    async def drop(self, session_id: str) -> None:
        """Delete the item of a session that has ended; DynamoDB does so later if that fails."""
        with suppress(StoreUnavailable):
            await self._services.table.delete(id_of(self._services, session_id))

    async def read(self, session_id: str) -> Words:
        """Return the words about a session; none where they are not there or not readable.

        Raises StoreUnavailable.
        """
        item_id = id_of(self._services, session_id)
        item = await self._services.table.get(item_id)
        return {} if item is None else await self.words_of(item)

    async def words_of(self, item: Item) -> Words:
        """Return the words in an item that was read; none where they are not readable.

        Raises StoreUnavailable.
        """
        try:
            return _words(json.loads(await self._opened(item)))
        except (InvalidRecord, ValueError, RecursionError):
            return {}

    async def _opened(self, item: Item) -> bytes:
        record = SessionRecord.from_item(item, ABOUT_ITEM)
        if len(record.encrypted_data) > BYTES_MAX:
            raise InvalidRecord("encryptedData")
        return await self._sealing.open(record, record.id)
