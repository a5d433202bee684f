"""Session metadata: labels of the project's choice, such as the browser's name, for lists.

A session has its labels under the key `ABOUT`. While a user is signed in they are also stored in a
separate item, which moves with the session's key and is decrypted without the visitor's cookie: it
is sealed under the data key and a secret derived from its id, so reading it requires KMS and the
table. It is optional: without it a list shows times only.

A grant's session names its OAuth client in two labels that no other session has.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from sessions_kms.aws.clock import has_passed
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.item_types import ABOUT as ABOUT_ITEM
from sessions_kms.format.record import LONGEST_AGE, SessionRecord
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services

ABOUT: Final = "_about"
CLIENT: Final = "client"  # the name that the client of a grant claims
CLIENT_ID: Final = "client_id"  # its id, as `short_client_id` has it
LABELS_MAX: Final = 8
LABEL_LENGTH_MAX: Final = 100  # of a name or a word
BYTES_MAX: Final = 16 * 1024  # that LABELS_MAX have at most, however JSON spells them

Labels = dict[str, str]


class LabelledSession(Protocol):
    """The stored state of a session (`session.repository.LoadedVersion`)."""

    @property
    def created_at(self) -> int: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def labels(self) -> Labels: ...


def read_labels(session: Mapping[str, Any]) -> Labels:
    """Return the labels of a session; none if they exceed the limits."""
    __traceback_hide__ = True
    return _validate_labels(session.get(ABOUT))


def are_of_grant(labels: Labels) -> bool:
    """Return True if these are the labels of a grant."""
    return CLIENT in labels


def short_client_id(client_id: str) -> str:
    """Return a client's id for labels: a long one is replaced by its digest."""
    if len(client_id) <= LABEL_LENGTH_MAX:
        return client_id
    return "sha256:" + hashlib.sha256(client_id.encode()).hexdigest()


def id_of(services: Services, session_id: str) -> str:
    """Return the id of the metadata item of a session."""
    return ABOUT_ITEM.id_in(services.config.namespace, session_id)


def get_stored_labels(state: LabelledSession) -> Labels:
    """Return the labels that are stored in an item: those of a session with a user."""
    return {} if state.user_id is None else state.labels


def must_write(
    services: Services, record: SessionRecord, after: LabelledSession, before: LabelledSession
) -> bool:
    """Return True if a save must write the item: its labels or its end have changed."""
    moved = services.config.absolute_timeout is None or record.created_at != before.created_at
    return bool(get_stored_labels(after)) and (
        moved or get_stored_labels(after) != get_stored_labels(before)
    )


def _validate_labels(found: object) -> Labels:
    if not isinstance(found, dict) or len(found) > LABELS_MAX:
        return {}
    return dict(found) if all(map(_is_label, [*found.keys(), *found.values()])) else {}


def _is_label(found: object) -> bool:
    return isinstance(found, str) and len(found) <= LABEL_LENGTH_MAX


class SessionMetadata:
    """The metadata items of sessions."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sealing = Sealing(services)

    async def seal(self, record: SessionRecord, labels: Labels) -> Item:
        """Return the metadata item of a session, which expires at the session's latest end.

        Raises StoreUnavailable.
        """
        timeout = self._services.config.absolute_timeout
        item_id = id_of(self._services, record.id)
        sealed = await self._sealing.seal_item(
            json.dumps(labels).encode(),
            item_id,
            item_id=item_id,
            item_type=ABOUT_ITEM,
            ttl=record.ttl if timeout is None else record.created_at + timeout,
            created_at=record.created_at,
        )
        return sealed.to_item()

    async def write(
        self, record: SessionRecord, labels: Labels, *, is_optional: bool = True
    ) -> None:
        """Write the item of a session that is about to be stored, if that can be done now.

        Raises StoreUnavailable if it is not optional.
        """
        if not labels:
            return
        try:
            item = await self.seal(record, labels)
            await self._services.table.put(item, sure=False)
        except StoreUnavailable:
            if not is_optional:
                raise

    async def drop(self, session_id: str) -> None:
        """Delete the item of a session that has ended; DynamoDB does so later if that fails."""
        with suppress(StoreUnavailable):
            await self._services.table.delete(id_of(self._services, session_id))

    async def read(self, session_id: str) -> Labels:
        """Return the labels of a session; none if they are missing or not readable.

        Raises StoreUnavailable.
        """
        item_id = id_of(self._services, session_id)
        item = await self._services.table.get(item_id)
        return {} if item is None else await self.read_item(item)

    async def read_item(self, item: Item) -> Labels:
        """Return the labels in an item; none if they are not readable.

        Raises StoreUnavailable.
        """
        try:
            return _validate_labels(json.loads(await self._open(item)))
        except (InvalidRecord, ValueError, RecursionError):
            return {}

    def _is_over(self, record: SessionRecord) -> bool:
        """Return True if the session must have ended, whatever the item's `ttl` says."""
        timeout = self._services.config.longest_age
        ends = record.updated_at + LONGEST_AGE if timeout is None else record.created_at + timeout
        return has_passed(self._services.clock, ends)

    async def _open(self, item: Item) -> bytes:
        record = SessionRecord.from_item(item, ABOUT_ITEM)
        if len(record.encrypted_data) > BYTES_MAX:
            raise InvalidRecord("encryptedData")
        if self._is_over(record):
            raise InvalidRecord("ended")
        return await self._sealing.open(record, record.id, ABOUT_ITEM)
