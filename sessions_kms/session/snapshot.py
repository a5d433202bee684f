"""What a request knows to be stored under its session key: the base of its changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items.about import ABOUT, Words, words_in
from sessions_kms.session.links import LINKS, names_in

NO_LINKS: Final[frozenset[str]] = frozenset()


@dataclass(kw_only=True, slots=True, eq=False)
class Snapshot:
    """The record that was loaded or written last, and what it held."""

    session_key: str = field(repr=False)
    id: str  # that it is stored under
    created_at: int
    revision: int
    salt: bytes = field(repr=False)
    ancestors: bytes = field(default=b"", repr=False)
    ttl: int
    payload: bytes = field(repr=False)
    user_id: str | None = field(repr=False)
    links: frozenset[str] = NO_LINKS
    about: Words = field(default_factory=dict, repr=False)
    replaced: bool = False  # its content was never looked at: nothing of it is merged

    @classmethod
    def of(
        cls, record: SessionRecord, session_key: str, payload: bytes, content: Mapping[str, Any]
    ) -> "Snapshot":
        """Return the snapshot of a record, with what it seals."""
        __traceback_hide__ = True
        return cls(
            session_key=session_key,
            id=record.id,
            created_at=record.created_at,
            revision=record.revision,
            salt=record.salt,
            ancestors=record.ancestors,
            ttl=record.ttl,
            payload=payload,
            user_id=content.get(USER_ID),
            links=names_in(content) if LINKS in content else NO_LINKS,
            about=words_in(content) if ABOUT in content else {},
        )

    def is_followed_by_sign_in(self, user_id: Any, *, told: bool) -> bool:
        """Tell whether a session of this user, that goes on from it, begins anew: someone has
        signed in since, which was ``told``, or shows.
        """
        return told or (user_id is not None and user_id != self.user_id)
