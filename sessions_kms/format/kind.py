"""What a kind of item is: how its ids are made, what it holds, which versions count (`kinds`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import Item, as_number, as_text, number

# Name -> type of DynamoDB.
Attributes = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind of item.

    Its ids are ``word``, the namespace, the ``fixed`` parts and then names, with `#` between
    them; ``names`` spells those for people. Ids of sessions are digests, and have no word.
    ``attributes`` has all that it must have, with their types, and ``optional`` the others.

    ``readable`` are the versions that this release reads and ``written`` the one that it
    writes, of this kind alone. A version becomes readable one release before it is written,
    and stays readable: while a fleet is being updated, each process reads what the others
    write. ``unknown`` says what a reader makes of any other.
    """

    name: str
    word: str = ""
    fixed: tuple[str, ...] = ()
    names: str
    owner: str = ""
    attributes: Attributes
    optional: Attributes = field(default_factory=dict)
    unknown: str
    is_listed: bool = False  # lists of sessions show it
    ends_with_sessions: bool = False  # `end_sessions` deletes it with those of its time or key
    readable: frozenset[int] = frozenset({1})
    written: int = 1

    def __post_init__(self) -> None:
        """Refuse a kind that is written as it cannot be read."""
        if self.written not in self.readable:
            raise ValueError(f"A {self.name} would be written in a version that is not readable.")

    @property
    def versions(self) -> str:
        """The versions that are read, for people."""
        return " or ".join(map(str, sorted(self.readable)))

    @property
    def is_rewrapped(self) -> bool:
        """Whether it holds a data key, which `rewrap_sessions` moves to another KMS key."""
        return "encryptedKey" in self.attributes or "encryptedKey" in self.optional

    @property
    def is_cleared(self) -> bool:
        """Whether it ends, so that DynamoDB deletes it, or else `clearsessions`."""
        return "ttl" in self.attributes

    def id_in(self, namespace: str, *names: str) -> str:
        """Return the id of the item of these names in a namespace."""
        return "#".join((self.word, namespace, *self.fixed, *names))

    def is_in(self, namespace: str, item_id: str) -> bool:
        """Tell whether this is the id of an item of this kind with a name, in a namespace."""
        return item_id.startswith(self.id_in(namespace, ""))

    def item(self, item_id: str) -> Item:
        """Return the beginning of an item: its id, and the version that is written."""
        return {"id": as_text(item_id), "version": as_number(self.written)}

    def version_of(self, item: Mapping[str, Any]) -> int:
        """Return the version of an item of this kind.

        Raises InvalidRecord where it is none that this release reads.
        """
        version = number(item, "version")
        if version not in self.readable:
            raise InvalidRecord("version")
        return version
