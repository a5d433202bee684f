"""Logout index entries: names by which others may end a session without its key.

A session lists opaque names under the key `LINKS`, such as a digest of an OpenID provider's
session id. For each name an item is written before the session; the owner index finds it without
a scan or decryption.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from sessions_kms.exceptions import TableUnavailable
from sessions_kms.format.attributes import Item, as_number, as_text
from sessions_kms.format.item_types import LINK, link_id, link_owner
from sessions_kms.format.record import SessionRecord
from sessions_kms.services import Services

LINKS = "_links"
LINKS_MAX = 16
NAME = re.compile(r"[0-9a-f]{64}")


class HasLinks(Protocol):
    """The stored state of a session (`session.repository.LoadedVersion`)."""

    @property
    def created_at(self) -> int: ...
    @property
    def links(self) -> frozenset[str]: ...


def fault_in(listed: object) -> str | None:
    """Return what is wrong with a list of links, or None."""
    if not isinstance(listed, list) or len(listed) > LINKS_MAX:
        return f"A session lists its links in a list of at most {LINKS_MAX}."
    if not all(map(_is_name, listed)):
        return "A link is named by 64 hexadecimal digits."
    return None


def names_in(session: Mapping[str, Any]) -> frozenset[str]:
    """Return the names that a session lists, up to the limit; invalid ones are ignored.

    So a session with invalid names, stored by another engine for example, can still be read.
    """
    __traceback_hide__ = True
    listed = session.get(LINKS)
    if not isinstance(listed, list):
        return frozenset()
    return frozenset([name for name in listed if _is_name(name)][:LINKS_MAX])


def merge(
    base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Return the names of a session after two requests have each added and removed some.

    Return {} if there are none: other data under that key is not changed.
    """
    __traceback_hide__ = True
    before, here, there = names_in(base), names_in(ours), names_in(theirs)
    if not here | there:
        return {}
    return {LINKS: sorted((here | there) - (before - here) - (before - there))[:LINKS_MAX]}


def links_to_write(
    services: Services, record: SessionRecord, after: HasLinks, before: HasLinks
) -> frozenset[str]:
    """Return the names whose items a save must write: the new ones, or all if the end moves."""
    moved = services.config.absolute_timeout is None or record.created_at != before.created_at
    return after.links if moved else after.links - before.links


async def write(services: Services, record: SessionRecord, names: Iterable[str]) -> None:
    """Write the items of a session that is about to be stored. Raises TableUnavailable."""
    for name in names:
        await services.table.put(_item(services, record, name))


async def drop(services: Services, session_id: str, names: Collection[str]) -> None:
    """Delete items that a session no longer has, if the table is available.

    DynamoDB deletes them later otherwise; the session itself is stored by then.
    """
    if not names:
        return
    with suppress(TableUnavailable):
        for name in names:
            item_id = link_id(services.config.namespace, name, session_id)
            await services.table.delete(item_id)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def _item(services: Services, record: SessionRecord, name: str) -> Item:
    namespace, timeout = services.config.namespace, services.config.absolute_timeout
    return LINK.item(link_id(namespace, name, record.id)) | {
        "owner": as_text(link_owner(namespace, name)),
        "createdAt": as_number(record.created_at),
        "ttl": as_number(record.ttl if timeout is None else record.created_at + timeout),
    }
