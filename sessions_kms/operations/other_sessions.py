"""A user's live sessions beside one that ends: what a revocation at a provider would hit as well.

The owner index lists the candidates. It lags behind, so it is read twice, and a consistent read of
each candidate decides whether it is live. No session is decrypted; metadata tells the grants of
OAuth clients from the sessions of browsers. In doubt a session counts as live, and as a browser's:
if its record or its metadata cannot be read by this release, or is of a time that is yet to come.
"""

from collections.abc import Collection

from sessions_kms.concurrency import deadline
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.format.item_types import is_session_id, owner_of
from sessions_kms.format.record import RecordHead
from sessions_kms.operations.ending import BETWEEN_PASSES
from sessions_kms.sealed_items.about import Labels, SessionMetadata, are_of_grant
from sessions_kms.services import Services
from sessions_kms.storage.suspect_responses import retry_invalid_read

KEYS_MAX = 1000  # keys of the index that are read, newest first
CANDIDATES_MAX = 100  # sessions that are read, each with its metadata if it is live
SECONDS_MAX = 10.0  # to wait for the store
TOO_MANY = "The index has more sessions of this user than are read."


class OtherSessions:
    """One search for a user's live sessions, except those with the ids ``but``."""

    def __init__(self, services: Services, user_id: str, but: Collection[str]) -> None:
        self._services = services
        self._owner = owner_of(services.config.namespace, user_id)
        self._seen = set(but)
        self._reads = 0

    async def find(self) -> list[Labels]:
        """Return the metadata of the live sessions, up to the first one of a browser.

        Raises StoreUnavailable, also if there are more candidates than are read.
        """
        if self._owner is None:
            raise StoreUnavailable("The index cannot have the sessions of this user.")
        with deadline.request(SECONDS_MAX):
            found = await self._read_new(self._owner)
            if all(map(are_of_grant, found)):
                # A session that began, or changed its key, a moment ago may be missing.
                await self._services.wait(BETWEEN_PASSES)
                found += await self._read_new(self._owner)
        return found

    async def _read_new(self, owner: str) -> list[Labels]:
        """Return the metadata of live sessions that were not in the index before."""
        page = await self._services.queries.owned(owner, limit=KEYS_MAX)
        found = []
        for item_id in (item["id"]["S"] for item in page.items):
            if item_id in self._seen or not is_session_id(item_id):
                continue
            self._seen.add(item_id)
            if self._reads == CANDIDATES_MAX:
                raise StoreUnavailable(TOO_MANY)
            self._reads += 1
            labels = await self._read_labels(item_id, owner)
            if labels is not None:
                found.append(labels)
                if not are_of_grant(labels):
                    return found
        if page.next is not None:
            raise StoreUnavailable(TOO_MANY)
        return found

    async def _read_labels(self, item_id: str, owner: str) -> Labels | None:
        """Return the metadata of a session; None if it is not live, or not this owner's."""
        try:
            record = await retry_invalid_read(lambda: self._services.session_items.head(item_id))
        except InvalidRecord:  # perhaps of a later release
            return {}
        if record is None or record.owner != owner or not await self._is_live(record, {}):
            return None
        labels = await SessionMetadata(self._services).read(item_id)
        return labels if await self._is_live(record, labels) else None

    async def _is_live(self, record: RecordHead, labels: Labels) -> bool:
        """Return True if a session is live; without metadata, if either kind would be."""
        of_kind = self._services.of_any
        if labels:
            of_kind = self._services.of_grants if are_of_grant(labels) else self._services
        return await of_kind.is_live(record)
