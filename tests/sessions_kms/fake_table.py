"""The table in memory: the same contract as `sessions_kms.table.Table`, without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.items import PAGE_ITEMS, Page
from sessions_kms.record import VERSION, Item, PublishedKey, SessionRecord, number
from sessions_kms.table import Conflict, RecordExists, Version, _sized


class FakeTable:
    """One namespace; ``items`` is what a dump would show, ``calls`` what was asked."""

    def __init__(self, namespace: str = "django") -> None:
        self.items: dict[str, Item] = {}
        self.calls: list[str] = []
        self.unavailable = False
        self._namespace = namespace
        self._lock = Lock()

    def get(self, session_id: str) -> SessionRecord | None:
        with self._call("get"):
            return self._record(session_id)

    def create(self, record: SessionRecord, *, now: int) -> None:
        with self._call("create"):
            self._refuse_live(record.id, now)
            self._put(record)

    def replace(self, record: SessionRecord, *, expected: Version, now: int) -> None:
        with self._call("replace"):
            self._expect(record.id, expected, now)
            self._put(record)

    def move(self, record: SessionRecord, *, old_id: str, expected: Version, now: int) -> None:
        with self._call("move"):
            self._refuse_live(record.id, now)
            self._expect(old_id, expected, now)
            self._put(record)
            del self.items[old_id]

    def delete(self, session_id: str) -> None:
        with self._call("delete"):
            self.items.pop(session_id, None)

    def get_data_key(self, period: int) -> PublishedKey | None:
        with self._call("get_data_key"):
            item = self.items.get(self._data_key_id(period))
            key = PublishedKey.from_item(item) if item else None
            if key and key.period != period:
                raise InvalidRecord("keyPeriod")
            return key

    def publish_data_key(self, key: PublishedKey) -> bool:
        with self._call("publish_data_key"):
            item_id = self._data_key_id(key.period)
            if item_id in self.items:
                return False
            self.items[item_id] = key.to_item(item_id)
            return True

    def replace_data_key(self, key: PublishedKey, *, old: bytes) -> bool:
        with self._call("replace_data_key"):
            item_id = self._data_key_id(key.period)
            if self.items.get(item_id, {}).get("encryptedKey") != {"B": old}:
                return False
            self.items[item_id] = key.to_item(item_id)
            return True

    def get_item(self, item_id: str) -> Item | None:
        with self._call("get_item"):
            return self.items.get(item_id)

    def put_item(self, item: Item) -> None:
        with self._call("put_item"):
            self.items[item["id"]["S"]] = item

    def put_stamped(self, item: Item, *, expected: bytes | None) -> bool:
        with self._call("put_stamped"):
            current = self.items.get(item["id"]["S"])
            stamp = current["stamp"]["B"] if current else None
            if stamp != expected:
                return False
            self.items[item["id"]["S"]] = item
            return True

    def owned(self, owner: str) -> list[str]:
        with self._call("owned"):
            return self._owned(owner)

    def page(self, start: Item | None = None, *, limit: int = PAGE_ITEMS) -> Page:
        with self._call("page"):
            return self._page(sorted(self.items), start, limit)

    def owned_page(self, owner: str, start: Item | None = None, *, limit: int = PAGE_ITEMS) -> Page:
        with self._call("owned_page"):
            return self._page(self._owned(owner), start, limit)

    def _page(self, ids: list[str], start: Item | None, limit: int) -> Page:
        after = 0 if start is None else ids.index(start["id"]["S"]) + 1
        shown = ids[after : after + limit]
        more = after + limit < len(ids)
        return Page(
            [self.items[each] for each in shown], {"id": {"S": shown[-1]}} if more else None
        )

    def _owned(self, owner: str) -> list[str]:
        found = [item for item in self.items.values() if item.get("owner") == {"S": owner}]
        found.sort(key=lambda item: int(item["createdAt"]["N"]), reverse=True)
        return [item["id"]["S"] for item in found]

    def get_not_before(self) -> int:
        with self._call("get_not_before"):
            item = self.items.get(f"not-before#{self._namespace}")
            if item is None:
                return 0
            if number(item, "version") != VERSION:
                raise InvalidRecord("version")
            return number(item, "notBefore")

    def _data_key_id(self, period: int) -> str:
        return f"data-key#{self._namespace}#{period}"

    def _record(self, session_id: str) -> SessionRecord | None:
        item = self.items.get(session_id)
        record = SessionRecord.from_item(item) if item else None
        if record and record.id != session_id:
            raise InvalidRecord("id")
        return record

    def _put(self, record: SessionRecord) -> None:
        self.items[record.id] = _sized(record.to_item())

    def _refuse_live(self, session_id: str, now: int) -> None:
        current = self._record(session_id)
        if current is not None and current.ttl > now:
            raise RecordExists

    def _expect(self, session_id: str, expected: Version, now: int) -> None:
        current = self._record(session_id)
        if (
            current is None
            or (current.revision, current.salt) != (expected.revision, expected.salt)
            or current.ttl <= now
        ):
            raise Conflict(current)

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        with self._lock:
            self.calls.append(name)
            if self.unavailable:
                raise TableUnavailable
            yield
