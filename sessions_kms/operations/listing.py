"""Sessions for administrators: the unencrypted attributes of records, page by page.

No session is decrypted; its metadata (`sealed_items.about`) is read for one session at a time. A
page takes a bounded number of calls, however large the table.

The owner of a record shows which project it belongs to. If projects share a table, an anonymous
record belongs to this project if its data key unwraps here: a page makes KMS calls for at most a
few data keys, and marks the remaining records as doubtful. A single session is shown and ended only
if it certainly belongs to this project.

Links to further pages contain a signed token, because the item at which a page starts may belong to
another project: a token is valid only for the listing that it was created for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from django.core import signing

from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import KnownKeys
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable, StoreUnavailable
from sessions_kms.format import item_types
from sessions_kms.format.attributes import Item, item_size, number
from sessions_kms.format.item_types import (
    link_owner,
    linked_session,
    owner_of,
    owner_prefix,
    session_id,
)
from sessions_kms.format.record import CLOCK_SKEW, RecordHead
from sessions_kms.operations import ending
from sessions_kms.sealed_items import about
from sessions_kms.services import Services


def sign_page_token(services: Services, start: Item, *, listing: str) -> str:
    """Return a token for the item that a page starts at. Any text names a listing."""
    return signing.dumps(start, salt=_salt(services, listing))


def read_page_token(services: Services, token: str, *, listing: str) -> Item:
    """Return the item that a page starts at. Raises django.core.signing.BadSignature."""
    start: Item = signing.loads(token, salt=_salt(services, listing))
    return start


def _salt(services: Services, listing: str) -> str:
    config = services.config
    return f"sessions_kms.page:{config.table_name}:{config.namespace}:{listing}"


class Ownership:
    """Which records belong to this namespace; at most one KMS call for each data key."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._owner_prefix = owner_prefix(services.config.namespace)
        self._known: KnownKeys[bool] = KnownKeys()

    async def is_ours(self, record: RecordHead) -> bool:
        """Return True if a record belongs to this namespace. Raises KMSUnavailable."""
        if record.owner is not None:
            return record.owner.startswith(self._owner_prefix)
        wrapped = (record.encrypted_key, record.key_period)
        if wrapped not in self._known:
            self._known[wrapped] = await self._unwraps(*wrapped)
        return self._known[wrapped]

    async def _unwraps(self, encrypted_key: bytes, period: int) -> bool:
        try:
            await self._services.keyring.unwrap(encrypted_key, period)
        except (InvalidRecord, IncorrectKey):  # Or wrapped by a KMS key of another project.
            return False
        return True


ROWS = 100  # of the whole table on a page
OWNED_ROWS = 25  # of one user on a page; each takes a read
COUNTED = 100  # keys on a page of the index, for counting a user's sessions or finding young ones
KEYS, PAGES_MAX = 1000, 20  # keys on a page of the index, and pages, of one owner
READS = 4  # scans for a page: other items may be between the sessions
KEYS_ASKED = 10  # data keys to unwrap for a page

# A forged record may contain any time.
_LATEST = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Row:
    """One session.

    A ``doubtful`` one may belong to another project. ``words`` are its metadata, if they were read.
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
    words: about.Labels = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """Some sessions, and where the next page starts, or None at the end."""

    rows: list[Row]
    next: Item | None = None


@dataclass(frozen=True)
class Count:
    """An upper bound of a user's live sessions; with ``more`` there are others, not counted.

    ``newest`` has the id of each and its start in epoch seconds, newest first.
    """

    number: int
    more: bool
    newest: tuple[tuple[str, int], ...] = ()


class Inspection:
    """Reads sessions for one request. All methods raise StoreUnavailable."""

    def __init__(self, services: Services, current: str | None = None) -> None:
        """``current`` is the session key of the request."""
        __traceback_hide__ = True
        self.services = services.of_any
        self.namespace = self.services.config.namespace
        self._current_id = None if current is None else session_id(self.namespace, current)
        self.ownership = Ownership(self.services)
        self._metadata_is_available = True
        self._asked: set[tuple[bytes, int]] = set()
        self._kms_is_available = True

    async def list_user_sessions(self, user_id: str, start: Item | None = None) -> Listing:
        """Return the next page of a user's live sessions, newest first."""
        owner = owner_of(self.namespace, user_id)
        if owner is None:
            return Listing([])
        page = await self.services.queries.owned(owner, start, limit=OWNED_ROWS)
        rows = await self.read_rows(user_id, (item["id"]["S"] for item in page.items))
        return Listing(rows, page.next)

    async def read_rows(self, user_id: str, ids: Iterable[str]) -> list[Row]:
        """Return the sessions of these ids that are live and this user's, with a call for each."""
        owner, rows = owner_of(self.namespace, user_id), []
        for each in ids:
            record = await ending.load_head(self.services, each)
            if record is None or record.owner is None or record.owner != owner:
                continue
            if await is_listed(self.services, record):
                rows.append(self.to_row(record))
        return rows

    async def find_linked_ids(self, user_id: str, name: str) -> list[str]:
        """Return the ids of a user's sessions that list a name (`session.links`), newest first.

        Reads only the index, which lags behind and includes sessions that have idled out.
        """
        owner = owner_of(self.namespace, user_id)
        if owner is None:
            return []
        links = await self._owned_ids(link_owner(self.namespace, name))
        linked = set(map(linked_session, links))
        found = await self._owned_ids(owner) if linked else []
        return [each for each in found if each in linked]

    async def find_young_linked_ids(self, name: str, since: float) -> list[str]:
        """Return the ids of sessions that list a name and began after a time, newest first.

        Reads only the index, which lags behind, includes sessions that have ended, and does not
        show whose they are.
        """
        ids: list[str] = []
        start: Item | None = None
        while True:
            owner = link_owner(self.namespace, name)
            page = await self.services.queries.owned(owner, start, limit=COUNTED)
            for each in page.items:
                created_at = _read_start(each)
                if created_at is not None and created_at <= since:
                    return ids
                if created_at is not None:
                    ids.append(linked_session(each["id"]["S"]))
            start = page.next
            if start is None:
                return ids

    async def _owned_ids(self, owner: str) -> list[str]:
        ids: list[str] = []
        start: Item | None = None
        for _ in range(PAGES_MAX):
            page = await self.services.queries.owned(owner, start, limit=KEYS)
            ids += [item["id"]["S"] for item in page.items]
            if (start := page.next) is None:
                break
        return ids

    async def count_user_sessions(self, user_id: str) -> Count:
        """Count the sessions of a user in one call.

        Reads only the index, which lags behind and includes sessions that have idled out.
        """
        owner = owner_of(self.namespace, user_id)
        if owner is None:
            return Count(0, more=False)
        page = await self.services.queries.owned(owner, limit=COUNTED)
        newest = []
        for key in page.items:
            if not await may_be_live(self.services, key):
                continue
            newest.append((key["id"]["S"], number(key, "createdAt")))
        return Count(len(newest), page.next is not None, tuple(newest))

    async def find(self, item_id: str) -> Row | None:
        """Return the live session of an id if it belongs to this project."""
        record = await ending.load_head(self.services, item_id)
        if record is None or not await self.services.is_live(record):
            return None
        return self.to_row(record) if await self.ownership.is_ours(record) else None

    async def find_current(self) -> Row | None:
        """Return the session of the request."""
        return None if self._current_id is None else await self.find(self._current_id)

    async def about(self, item_id: str) -> about.Labels:
        """Return the metadata of a session, empty if it cannot be read now."""
        if not self._metadata_is_available:
            return {}
        try:
            return await about.SessionMetadata(self.services).read(item_id)
        except StoreUnavailable:
            self._metadata_is_available = False  # Do not wait for the next one either.
            return {}

    def to_row(self, record: RecordHead, *, doubtful: bool = False) -> Row:
        """Return the row of a record."""
        owner = record.owner
        return Row(
            id=record.id,
            user_id=None if owner is None else owner.removeprefix(owner_prefix(self.namespace)),
            doubtful=doubtful,
            current=record.id == self._current_id,
            created_at=to_datetime(record.created_at),
            updated_at=to_datetime(record.updated_at),
            ends_at=to_datetime(ending.get_end(self.services, record)),
            version=record.version,
            revision=record.revision,
            key_period=record.key_period,
        )

    def list_table(self, start: Item | None = None) -> Listing:
        """Return the next page of live sessions, in the table's order.

        It has fewer rows, or none, where other items are between them.
        """
        return self._scan(start, self._listed, whole=False)

    def list_grants(self, start: Item | None = None) -> Listing:
        """Return the next page of live grants of OAuth clients, as `list_table` does.

        Their metadata identifies them, so the rows have it.
        """
        return self._scan(start, self.read_grant, whole=True)

    def _scan(
        self, start: Item | None, to_row: Callable[[Item], Row | None], *, whole: bool
    ) -> Listing:
        rows: list[Row] = []
        for _ in range(READS):
            page = run_sync(self.services.queries.scan(start, limit=ROWS - len(rows), whole=whole))
            rows += [row for item in page.items if (row := to_row(item)) is not None]
            start = page.next
            if start is None or len(rows) == ROWS:
                break
        return Listing(rows, start)

    def read_grant(self, item: Item) -> Row | None:
        """Return the live grant whose metadata this item holds, if it does."""
        if not item_types.ABOUT.is_in(self.namespace, item["id"]["S"]):
            return None
        words = run_sync(about.SessionMetadata(self.services).read_item(item))
        if not about.are_of_grant(words):
            return None
        row = run_sync(self.find(item["id"]["S"].rpartition("#")[2]))
        return None if row is None else replace(row, words=words)

    def size(self, item_id: str) -> int | None:
        """Return the size of a session's item in bytes, which reads the whole item."""
        try:
            record = run_sync(self.services.session_items.get(item_id))
        except InvalidRecord:
            return None
        return None if record is None else item_size(record.to_item())

    def end(self, item_id: str) -> bool:
        """End a session of this project; return False if there is none of that id."""
        record = run_sync(ending.load_head(self.services, item_id))
        if record is None or not run_sync(self.ownership.is_ours(record)):
            return False
        return ending.end_record(self.services, record)

    def _listed(self, item: Item) -> Row | None:
        item_type = item_types.find_type(item["id"]["S"])
        if item_type is None or not item_type.is_listed:
            return None
        try:
            record = RecordHead.from_item(item, item_type)
        except InvalidRecord:
            return None
        if not run_sync(self.services.is_live(record)):
            return None
        ours = self._seems_ours(record)
        return None if ours is False else self.to_row(record, doubtful=ours is None)

    def _seems_ours(self, record: RecordHead) -> bool | None:
        if record.owner is None and not self._may_ask(record):
            return None
        try:
            return run_sync(self.ownership.is_ours(record))
        except KMSUnavailable:
            self._kms_is_available = False
            return None

    def _may_ask(self, record: RecordHead) -> bool:
        wrapped = (record.encrypted_key, record.key_period)
        if self._kms_is_available and len(self._asked) < KEYS_ASKED:
            self._asked.add(wrapped)
        return self._kms_is_available and wrapped in self._asked


async def is_listed(services: Services, record: RecordHead) -> bool:
    """Return True if a record is live and not forged with a time in the future."""
    if record.is_ahead(services.clock()):
        return False
    try:
        record.check_times()
    except InvalidRecord:
        return False
    return await services.is_live(record)


async def may_be_live(services: Services, key: Item) -> bool:
    """Return True if a key of the index may belong to a live session."""
    created_at = _read_start(key)
    if created_at is None or created_at > services.clock() + CLOCK_SKEW:
        return False
    return await services.may_go_on(created_at)


def _read_start(key: Item) -> int | None:
    """Return when the session of a key of the index began; None if no session has such a time."""
    try:
        return number(key, "createdAt")
    except InvalidRecord:
        return None


def to_datetime(seconds: int) -> datetime:
    """Return epoch seconds as a datetime, capped at its maximum."""
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC)
