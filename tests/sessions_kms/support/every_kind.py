"""One item of each kind, written and read as the engine does; and releases that differ in versions.

``write`` gives what another process needs to ``read`` them: JSON, so that it can be handed over.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import FateUnknown, InvalidRecord, StoreUnavailable
from sessions_kms.format import item_types
from sessions_kms.format.attributes import Item
from sessions_kms.format.item_types import ItemType
from sessions_kms.format.record import is_tombstone
from sessions_kms.operations import session_import
from sessions_kms.operations.audit_writers import AuditWriter, AuditWriters
from sessions_kms.operations.ending import end_before
from sessions_kms.operations.used_tokens import is_used, mark_used, use_assertion
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.documents import SealedDocuments
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.sealed_items.tokens import Exchange, NewToken, SealedToken, Tokens, new_stamp
from sessions_kms.services import services
from sessions_kms.session.links import LINKS
from tests.sessions_kms.support.sessions import save_session

LINK = "1f" * 32
SECRET = "s" * 32
TOKEN = "gwr_" + "t" * 32
ISSUER = "https://idp.example.com"
CLIENT = "https://app.example.com/client.json"
WORDS = {"browser": "Firefox"}
MOMENT = 86_400  # before all sessions

Names = dict[str, str]
# The versions that are read, and the one that is written.
BEFORE = ([1], 1)
AHEAD = ([1, 2], 1)  # the release that reads what the next one writes
AFTER = ([1, 2], 2)


def put(kind: ItemType, readable: list[int], written: int) -> None:
    """Make this process one of a release with these versions of a kind."""
    changed = replace(kind, readable=frozenset(readable), written=written)
    for name in ("readable", "written"):
        object.__setattr__(kind, name, getattr(changed, name))


@contextmanager
def release(*changed: ItemType, versions: tuple[list[int], int] = AFTER) -> Iterator[None]:
    """Run a block as a release with these versions of some kinds."""
    for kind in changed:
        put(kind, *versions)
    try:
        yield
    finally:
        for kind in changed:
            put(kind, *BEFORE)


def kind_of(item: Item) -> ItemType | None:
    return item_types.TOMBSTONE if is_tombstone(item) else item_types.find_type(item["id"]["S"])


def write() -> Names:
    end_before(services(), MOMENT)
    session = save_session("7", value=1, **{LINKS: [LINK], about.ABOUT: WORDS})
    moved = SessionStore()
    moved.save()
    names = {"session": session.session_key or "", "old": moved.session_key or ""}
    moved.cycle_key()
    run_sync(Leases(services()).claim(SECRET, "one", seconds=30))
    assert run_sync(Leases(services()).complete(SECRET, "one", b"result", keep=600))
    now = int(services().clock())
    mark_used(services(), ISSUER, "token", until=now + 600)
    assert run_sync(use_assertion(services(), CLIENT, "jti", with_token="one", until=now + 600))
    tokens = Tokens(services())
    run_sync(tokens.begin(NewToken(TOKEN, b"opens", now + 600)))
    with suppress(FateUnknown):  # roto answers no transaction in full
        spend_token(TOKEN, ttl=now + 600)
    assert run_sync(SealedDocuments(services()).store("wiki", b"content", expected=None))
    assert AuditWriters(services()).put(AuditWriter("writer", now, number=7, checkpoint=b"line"))
    run_sync(
        services().table.put(session_import.new_mark(services(), "elsewhere", row_ends_at=now))
    )
    return names


def spend_token(token: str, *, ttl: int, **more: Any) -> bool:
    """Redeem a token, by default for nothing; return True if nobody else did."""
    tokens = Tokens(services())
    found = run_sync(tokens.find(token))
    assert isinstance(found, SealedToken)
    members: dict[str, Any] = {
        "expected": found.stamp,
        "stamp": new_stamp(),
        "spent": NewToken(token, b"spent", ttl),
        "answer": NewToken(token, b"answer", ttl),
        "successors": [],
    }
    return run_sync(tokens.exchange(Exchange(**(members | more))))


def _session(names: Names) -> Any:
    return SessionStore(names["session"]).get("value")


def _tombstone(names: Names) -> Any:
    return SessionStore(names["old"]).get("value")


def _data_key(_: Names) -> bool:
    """Whether the published one is used."""
    key = run_sync(services().sealing_key())
    try:
        published = run_sync(services().data_key_items.get(key.period))
    except InvalidRecord:
        return False
    return published is not None and published.encrypted == key.encrypted


def _not_before(_: Names) -> int:
    return run_sync(services().not_before.moment())


def _move_item(_: Names) -> bool:
    return session_import.is_marked(services(), "elsewhere")


def _lease(_: Names) -> str:
    return (run_sync(Leases(services()).claim(SECRET, "two", seconds=30)).result or b"").decode()


def _link(names: Names) -> bool:
    namespace = services().config.namespace
    item_id = item_types.link_id(
        namespace, LINK, item_types.session_id(namespace, names["session"])
    )
    return run_sync(services().queries.owned_ids(item_types.link_owner(namespace, LINK))) == [
        item_id
    ]


def _logout_token(_: Names) -> bool:
    return is_used(services(), ISSUER, "token")


def _assertion(_: Names) -> bool:
    until = int(services().clock()) + 600
    other = use_assertion(services(), CLIENT, "jti", with_token="two", until=until)
    return not run_sync(other)


def _about(names: Names) -> about.Labels:
    session_id = item_types.session_id(services().config.namespace, names["session"])
    return run_sync(about.SessionMetadata(services()).read(session_id))


def _token(_: Names) -> str | None:
    found = run_sync(Tokens(services()).find(TOKEN))
    return found.content.decode() if isinstance(found, SealedToken) else None


def _answer(_: Names) -> str | None:
    content = run_sync(Tokens(services()).answer(TOKEN))
    return None if content is None else content.decode()


def _document(_: Names) -> str | None:
    found = run_sync(SealedDocuments(services()).load("wiki"))
    return None if found is None else found.content.decode()


def _audit_writer(_: Names) -> int | str:
    try:
        found = AuditWriters(services()).get("writer")
    except InvalidRecord:
        return "reported"
    return 0 if found is None else found.number


READINGS: dict[ItemType, Callable[[Names], Any]] = {
    item_types.SESSION: _session,
    item_types.TOMBSTONE: _tombstone,
    item_types.DATA_KEY: _data_key,
    item_types.NOT_BEFORE: _not_before,
    item_types.MOVED: _move_item,
    item_types.LEASE: _lease,
    item_types.LINK: _link,
    item_types.LOGOUT_TOKEN: _logout_token,
    item_types.ASSERTION: _assertion,
    item_types.ABOUT: _about,
    item_types.TOKEN: _token,
    item_types.ANSWER: _answer,
    item_types.DOCUMENT: _document,
    item_types.AUDIT_WRITER: _audit_writer,
}
KNOWN: dict[str, Any] = {
    "session": 1,
    "tombstone": "SessionMoved",
    "data key": True,
    "not-before": MOMENT,
    "moved mark": True,
    "lease": "result",
    "logout index entry": True,
    "used logout token": True,
    "used assertion": True,
    "session metadata": WORDS,
    "token": "spent",
    "answer": "answer",
    "document": "content",
    "audit writer": 7,
}
# What is seen of an item of an unknown version, by what the table of item types says of it.
UNKNOWN: dict[str, Any] = {
    "invalid: no session": None,
    "cannot tell": "TableUnavailable",
    "ignored": {},
    "invalid": None,
    "ignored: each process uses its own data key": False,
    "reported: its writer cannot be verified": "reported",
}


def unknown(kind: ItemType) -> dict[str, Any]:
    """Return what a release sees that does not know the version of one kind."""
    seen = KNOWN | {kind.name: UNKNOWN.get(kind.unknown, KNOWN[kind.name])}
    if kind is item_types.NOT_BEFORE:  # without it nobody can tell whether a session counts
        seen["session"] = "TableUnavailable"
    return seen


def read(names: Names, afresh: Callable[[], None]) -> dict[str, Any]:
    """Return what is seen of each kind by a process that has read nothing before."""
    return {kind.name: _see(READINGS[kind], names, afresh) for kind in item_types.ITEM_TYPES}


def _see(reading: Callable[[Names], Any], names: Names, afresh: Callable[[], None]) -> Any:
    afresh()
    try:
        return reading(names)
    except StoreUnavailable as exc:
        return type(exc).__name__


def versions_in(items: Mapping[str, Item]) -> dict[str, set[str]]:
    """Return the versions of the items of each kind."""
    found: dict[str, set[str]] = {}
    for item in items.values():
        kind = kind_of(item)
        assert kind is not None
        found.setdefault(kind.name, set()).add(item["version"]["N"])
    return found
