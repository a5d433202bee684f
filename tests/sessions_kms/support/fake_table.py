"""The table in memory: `sessions_kms.storage.table.Table` again, without a network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock

from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.format.attributes import Item, number
from sessions_kms.format.kinds import NOT_BEFORE, data_key_id, not_before_id
from sessions_kms.format.published_key import PublishedKey
from sessions_kms.format.record import HEAD_ATTRIBUTES, RecordHead, SessionRecord
from sessions_kms.format.tombstone import Tombstone, is_tombstone, tombstone_in
from sessions_kms.storage.items import PAGE_ITEMS, Page
from sessions_kms.storage.table import Conflict, RecordExists, Version, _sized

INDEX_KEY = ("id", "owner", "createdAt")


class FakeTable:
    """One namespace; ``items`` is what a dump would show, ``calls`` what was asked."""

    def __init__(self, namespace: str = "django") -> None:
        self.items: dict[str, Item] = {}
        self.calls: list[str] = []
        self.unavailable = False
        self.ttl: str | None = "ttl"
        self._namespace = namespace
        self._lock = Lock()

    def find(self, session_id: str) -> SessionRecord | Tombstone | None:
        with self._call("get"):
            item = self.items.get(session_id)
            found = tombstone_in(item) if item else None
            return found or self._record(session_id)

    def get(self, session_id: str) -> SessionRecord | None:
        with self._call("get"):
            return self._record(session_id)

    def head(self, session_id: str) -> RecordHead | None:
        with self._call("head"):
            item = self.items.get(session_id)
            if item is None or is_tombstone(_head(item)):
                return None
            return RecordHead.from_item(_head(item))

    def create(self, record: SessionRecord, *, now: int) -> None:
        with self._call("create"):
            self._refuse_live(record.id, now)
            self._put(record)

    def replace(self, record: SessionRecord, *, expected: Version, now: int) -> None:
        with self._call("replace"):
            self._expect(record.id, expected, now)
            self._put(record)

    def move(
        self,
        record: SessionRecord,
        *,
        old_id: str,
        expected: Version,
        now: int,
        put: Item | None = None,
        delete: str | None = None,
    ) -> None:
        with self._call("move"):
            self._expect(old_id, expected, now)
            with suppress(RecordExists):
                self._refuse_live(record.id, now)
                self._put(record)
                self.items[old_id] = Tombstone(old_id, now).to_item()
                self.items |= {put["id"]["S"]: put} if put else {}
                self.items.pop(delete or "", None)
                return
            raise Conflict(self._record(old_id))

    def take_over(self, record: SessionRecord, *, mark: Item, now: int) -> None:
        with self._call("take_over"):
            self._refuse_live(record.id, now)
            if mark["id"]["S"] in self.items:
                raise RecordExists
            self._put(record)
            self.items[mark["id"]["S"]] = mark

    def mark(self, session_id: str, *, expected: Version, mark: Item, now: int) -> bool:
        with self._call("mark"), suppress(Conflict):
            self._expect(session_id, expected, now)
            self.items[mark["id"]["S"]] = mark
            return True
        return False

    def give_back(self, session_id: str, *, expected: Version, mark_id: str, now: int) -> None:
        with self._call("give_back"), suppress(Conflict):
            self._expect(session_id, expected, now)
            del self.items[session_id]
            self.items.pop(mark_id, None)

    def delete(self, item_id: str) -> None:
        with self._call("delete"):
            self.items.pop(item_id, None)

    def end(self, session_id: str) -> bool:
        with self._call("delete"):
            item = self.items.get(session_id)
            if item and tombstone_in(item):
                return False
            self.items.pop(session_id, None)
            return True

    def server_time(self) -> float | None:
        with self._call("server_time"):
            return None

    def get_data_key(self, period: int) -> PublishedKey | None:
        with self._call("get_data_key"):
            item = self.items.get(data_key_id(self._namespace, period))
            key = PublishedKey.from_item(item) if item else None
            if key and key.period != period:
                raise InvalidRecord("keyPeriod")
            return key

    def publish_data_key(self, key: PublishedKey) -> bool:
        with self._call("publish_data_key"):
            item_id = data_key_id(self._namespace, key.period)
            if item_id in self.items:
                return False
            self.items[item_id] = key.to_item(item_id)
            return True

    def replace_data_key(self, key: PublishedKey, *, old: bytes) -> bool:
        with self._call("replace_data_key"):
            item_id = data_key_id(self._namespace, key.period)
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

    def delete_created(self, item_id: str, *, until: int) -> bool:
        with self._call("delete_created"):
            return self._delete_if(item_id, lambda item: int(item["createdAt"]["N"]) <= until)

    def delete_expired(self, item_id: str, *, until: int) -> bool:
        with self._call("delete_expired"):
            return self._delete_if(item_id, lambda item: int(item["ttl"]["N"]) <= until)

    def delete_sealed(self, item_id: str, *, period: int, but: bytes | None) -> bool:
        def is_meant(item: Item) -> bool:
            return item["keyPeriod"] == {"N": str(period)} and item["encryptedKey"] != {"B": but}

        with self._call("delete_sealed"):
            return self._delete_if(item_id, is_meant)

    def rewrap(self, item_id: str, *, old: bytes, new: bytes, created_at: int | None) -> bool:
        with self._call("rewrap"):
            item = self.items.get(item_id, {})
            if item.get("encryptedKey") != {"B": old}:
                return False
            changed: Item = {"encryptedKey": {"B": new}}
            if created_at is not None:
                changed["createdAt"] = {"N": str(created_at)}
            self.items[item_id] = item | changed
            return True

    def _delete_if(self, item_id: str, condition: Callable[[Item], bool]) -> bool:
        item = self.items.get(item_id)
        if item is None or not condition(item):
            return False
        del self.items[item_id]
        return True

    def estimated_items(self) -> int:
        with self._call("estimated_items"):
            return len(self.items)

    def ttl_attribute(self) -> str | None:
        with self._call("ttl_attribute"):
            return self.ttl

    def page(
        self,
        start: Item | None = None,
        *,
        limit: int = PAGE_ITEMS,
        consistent: bool = False,
        whole: bool = False,
    ) -> Page:
        with self._call("page"):
            # As with DynamoDB the item that a page starts after may be gone meanwhile.
            after = "" if start is None else start["id"]["S"]
            items = [self.items[each] for each in sorted(self.items) if each > after]
            return _page(items if whole else [_head(item) for item in items], limit)

    def owned_page(self, owner: str, start: Item | None = None, *, limit: int = PAGE_ITEMS) -> Page:
        with self._call("owned_page"):
            keys = [{name: item[name] for name in INDEX_KEY} for item in self._owned_items(owner)]
            if start is not None:
                keys = [key for key in keys if _newest_first(key) > _newest_first(start)]
            return _page(keys, limit)

    def _owned(self, owner: str) -> list[str]:
        return [item["id"]["S"] for item in self._owned_items(owner)]

    def _owned_items(self, owner: str) -> list[Item]:
        found = [item for item in self.items.values() if item.get("owner") == {"S": owner}]
        return sorted(found, key=_newest_first)

    def get_not_before(self, name: str | None = None) -> int:
        with self._call("get_not_before"):
            return self._not_before(name)

    def raise_not_before(self, moment: int, name: str | None = None, *, latest: int) -> bool:
        with self._call("raise_not_before"):
            if moment <= self._not_before(name) <= latest:
                return False
            item_id = not_before_id(self._namespace, name)
            self.items[item_id] = NOT_BEFORE.item(item_id) | {"notBefore": {"N": str(moment)}}
            return True

    def _not_before(self, name: str | None) -> int:
        item = self.items.get(not_before_id(self._namespace, name))
        if item is None:
            return 0
        NOT_BEFORE.version_of(item)
        return number(item, "notBefore")

    def _record(self, session_id: str) -> SessionRecord | None:
        item = self.items.get(session_id)
        return SessionRecord.from_item(item) if item and not is_tombstone(item) else None

    def _put(self, record: SessionRecord) -> None:
        self.items[record.id] = _sized(record.to_item())

    def _refuse_live(self, session_id: str, now: int) -> None:
        current = self.items.get(session_id)
        if current is not None and int(current["ttl"]["N"]) > now:
            raise RecordExists

    def _expect(self, session_id: str, expected: Version, now: int) -> None:
        current = self._record(session_id)
        if (
            current is None
            or (current.revision, current.salt) != (expected.revision, expected.salt)
            or current.ttl <= now
        ):
            buried = tombstone_in(self.items.get(session_id, {}))
            raise Conflict(current or buried)

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        with self._lock:
            self.calls.append(name)
            if self.unavailable:
                raise TableUnavailable
            yield


def _head(item: Item) -> Item:
    return {name: value for name, value in item.items() if name in HEAD_ATTRIBUTES}


def _newest_first(item: Item) -> tuple[int, str]:
    return -int(item["createdAt"]["N"]), item["id"]["S"]


def _page(items: list[Item], limit: int) -> Page:
    shown = items[:limit]
    if len(items) <= limit:
        return Page(shown, None)
    return Page(shown, {name: shown[-1][name] for name in INDEX_KEY if name in shown[-1]})
