"""Sessions as administrators see them: what records say in the clear, page by page.

No session is decrypted; what it tells of itself (`sealed_items.about`) is read for one at a
time. A page is a bounded number of calls, however large the table.

An owner tells whose record it is. Where projects share a table, an anonymous record is
of this one if its data key unwraps here: a page asks KMS about a few data keys at most,
and shows a record that it could not ask about as doubtful. One session is looked at
and ended only when it is known to be of this project.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable, StoreUnavailable
from sessions_kms.format import kinds
from sessions_kms.format.attributes import Item, item_size, number
from sessions_kms.format.kinds import (
    link_owner,
    linked_session,
    owner_of,
    owner_prefix,
    session_id,
)
from sessions_kms.format.record import CLOCK_SKEW, RecordHead
from sessions_kms.operations import ending
from sessions_kms.operations.ownership import Ownership
from sessions_kms.sealed_items import about
from sessions_kms.services import Services

ROWS = 100  # of the whole table on a page
OWNED_ROWS = 25  # of one user on a page; each is read by itself
COUNTED = 100  # of one user at most, by the index alone
KEYS, PAGES_MAX = 1000, 20  # of one owner, where the index alone is looked through: keys on a page
READS = 4  # of the whole table for a page: other items may stand between the sessions
KEYS_ASKED = 10  # data keys that KMS is asked about for a page

# A record that somebody forged may name any time.
_LATEST = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Row:
    """One session.

    ``doubtful`` is one that may be of another project. ``key_period`` is 0 where the
    data key seals this record alone. ``words`` are what it tells of itself, where they were read.
    """

    id: str
    user_id: str | None
    doubtful: bool
    current: bool
    created_at: datetime
    updated_at: datetime
    ends_at: datetime
    version: int
    revision: int
    key_period: int
    words: about.Words = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """Some sessions, and where the following ones start, None at the end."""

    rows: list[Row]
    next: Item | None = None


@dataclass(frozen=True)
class Count:
    """How many sessions a user has at most, of those that were counted; ``more`` were not.

    ``newest`` has the ids of those, and when each began in epoch seconds, the newest first.
    """

    number: int
    more: bool
    newest: tuple[tuple[str, int], ...] = ()


class Inspection:
    """What one request looks at of somebody's sessions. All methods raise StoreUnavailable."""

    def __init__(self, services: Services, current: str | None = None) -> None:
        """``current`` is the session key of the one that asks."""
        __traceback_hide__ = True
        self.services = services.of_any
        self.namespace = self.services.config.namespace
        self._current_id = None if current is None else session_id(self.namespace, current)
        self.belongs = Ownership(self.services)
        self._about_answers = True
        self._asked: set[tuple[bytes, int]] = set()
        self._kms_answers = True

    async def of_user(self, user_id: str, start: Item | None = None) -> Listing:
        """Return the next live sessions of a user, newest first."""
        owner = owner_of(self.namespace, user_id)
        if owner is None:
            return Listing([])
        page = await self.services.table.owned(owner, start, limit=OWNED_ROWS)
        rows = await self.rows_of_user(user_id, (item["id"]["S"] for item in page.items))
        return Listing(rows, page.next)

    async def rows_of_user(self, user_id: str, ids: Iterable[str]) -> list[Row]:
        """Return those sessions of these ids that are live and this user's; each is a call."""
        owner, rows = owner_of(self.namespace, user_id), []
        for each in ids:
            record = await ending.stored_head(self.services, each)
            if record is None or record.owner is None or record.owner != owner:
                continue
            if await _is_listed(self.services, record):
                rows.append(self.row(record))
        return rows

    async def linked_ids_of_user(self, user_id: str, name: str) -> list[str]:
        """Return the ids of a user's sessions that list a name (`session.links`), newest first.

        By the index alone: it lags behind, and does not say which have idled out.
        """
        owner = owner_of(self.namespace, user_id)
        if owner is None:
            return []
        links = await self._owned_ids(link_owner(self.namespace, name))
        linked = set(map(linked_session, links))
        found = await self._owned_ids(owner) if linked else []
        return [each for each in found if each in linked]

    async def _owned_ids(self, owner: str) -> list[str]:
        ids: list[str] = []
        start: Item | None = None
        for _ in range(PAGES_MAX):
            page = await self.services.table.owned(owner, start, limit=KEYS)
            ids += [item["id"]["S"] for item in page.items]
            if (start := page.next) is None:
                break
        return ids

    async def count_of_user(self, user_id: str) -> Count:
        """Count the sessions of a user by the index alone, in one call.

        It lags behind, and does not say which have idled out: there may be fewer.
        """
        owner = owner_of(self.namespace, user_id)
        if owner is None:
            return Count(0, more=False)
        page = await self.services.table.owned(owner, limit=COUNTED)
        newest = []
        for key in page.items:
            if not await _may_be_live(self.services, key):
                continue
            newest.append((key["id"]["S"], number(key, "createdAt")))
        return Count(len(newest), page.next is not None, tuple(newest))

    async def find(self, item_id: str) -> Row | None:
        """Return the live session of an id, if it is of this project."""
        record = await ending.stored_head(self.services, item_id)
        if record is None or not await self.services.is_live(record):
            return None
        return self.row(record) if await self.belongs.is_ours(record) else None

    async def present(self) -> Row | None:
        """Return the session that asks."""
        return None if self._current_id is None else await self.find(self._current_id)

    async def about(self, item_id: str) -> about.Words:
        """Return what a session tells of itself; nothing where that cannot be read now."""
        if not self._about_answers:
            return {}
        try:
            return await about.About(self.services).read(item_id)
        except StoreUnavailable:
            self._about_answers = False  # Nor is it waited for with the next one.
            return {}

    def row(self, record: RecordHead, *, doubtful: bool = False) -> Row:
        """Return what is listed of a record."""
        owner = record.owner
        return Row(
            id=record.id,
            user_id=None if owner is None else owner.removeprefix(owner_prefix(self.namespace)),
            doubtful=doubtful,
            current=record.id == self._current_id,
            created_at=time_of(record.created_at),
            updated_at=time_of(record.updated_at),
            ends_at=time_of(ending.ends_at(self.services, record)),
            version=record.version,
            revision=record.revision,
            key_period=record.key_period,
        )

    def whole_table(self, start: Item | None = None) -> Listing:
        """Return the next live sessions in the table's own order.

        They are fewer than a page, or none, where other items stand between them.
        """
        rows: list[Row] = []
        for _ in range(READS):
            page = run_sync(self.services.table.scan(start, limit=ROWS - len(rows)))
            rows += [row for item in page.items if (row := self._listed(item)) is not None]
            start = page.next
            if start is None or len(rows) == ROWS:
                break
        return Listing(rows, start)

    def grants(self, start: Item | None = None) -> Listing:
        """Return the next live grants of OAuth clients in the table's own order.

        They are known by what they tell of themselves, and so have words. They are fewer than a
        page, or none, as of the whole table.
        """
        rows: list[Row] = []
        for _ in range(READS):
            page = run_sync(self.services.table.scan(start, limit=ROWS - len(rows), whole=True))
            rows += [row for item in page.items if (row := self.grant(item)) is not None]
            start = page.next
            if start is None or len(rows) == ROWS:
                break
        return Listing(rows, start)

    def grant(self, item: Item) -> Row | None:
        """Return the live grant that a whole item of the table tells of, if it tells of one."""
        if not kinds.ABOUT.is_in(self.namespace, item["id"]["S"]):
            return None
        words = run_sync(about.About(self.services).words_of(item))
        if not about.is_of_grant(words):
            return None
        row = run_sync(self.find(item["id"]["S"].rpartition("#")[2]))
        return None if row is None else replace(row, words=words)

    def size(self, item_id: str) -> int | None:
        """Return how many bytes the item of a session has, which reads all of it."""
        try:
            record = run_sync(self.services.session_items.get(item_id))
        except InvalidRecord:
            return None
        return None if record is None else item_size(record.to_item())

    def end(self, item_id: str) -> bool:
        """End a session of this project; False when there is none of that id any more."""
        record = run_sync(ending.stored_head(self.services, item_id))
        if record is None or not run_sync(self.belongs.is_ours(record)):
            return False
        return ending.end_record(self.services, record)

    def _listed(self, item: Item) -> Row | None:
        kind = kinds.of(item["id"]["S"])
        if kind is None or not kind.is_listed:
            return None
        try:
            record = RecordHead.from_item(item, kind)
        except InvalidRecord:
            return None
        if not run_sync(self.services.is_live(record)):
            return None
        ours = self._seems_ours(record)
        return None if ours is False else self.row(record, doubtful=ours is None)

    def _seems_ours(self, record: RecordHead) -> bool | None:
        if record.owner is None and not self._may_ask(record):
            return None
        try:
            return run_sync(self.belongs.is_ours(record))
        except KMSUnavailable:
            self._kms_answers = False
            return None

    def _may_ask(self, record: RecordHead) -> bool:
        wrapped = (record.encrypted_key, record.key_period)
        if self._kms_answers and len(self._asked) < KEYS_ASKED:
            self._asked.add(wrapped)
        return self._kms_answers and wrapped in self._asked


async def _is_listed(services: Services, record: RecordHead) -> bool:
    """Tell whether a record is live, and not one that somebody forged with a time to come."""
    if record.is_ahead(services.clock()):
        return False
    try:
        record.check_times()
    except InvalidRecord:
        return False
    return await services.is_live(record)


async def _may_be_live(services: Services, key: Item) -> bool:
    """Tell whether what a key of the index says leaves room for a live session."""
    try:
        created_at = number(key, "createdAt")
    except InvalidRecord:
        return False
    if created_at > services.clock() + CLOCK_SKEW:
        return False
    return await services.may_go_on(created_at)


def time_of(seconds: int) -> datetime:
    """Return a time of a record, or the latest that there is."""
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC)
