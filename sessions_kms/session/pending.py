"""Pending sessions and saves: the state to store, the attempts to write it, and their outcome.

A session that is not allowed to be stored is rejected before anything is sent. A write whose
response was lost may have been applied, or may be applied later. Only the stored item decides, and
only if it excludes the other outcome.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final, Protocol

from django.contrib.auth import SESSION_KEY as USER_ID
from django.core.exceptions import SuspiciousOperation

from sessions_kms.exceptions import InvalidRecord, SessionTooLarge, StoreUnavailable
from sessions_kms.format.attributes import ANCESTORS_MAX
from sessions_kms.format.record import SessionRecord, descends, next_ancestors
from sessions_kms.format.serializer import Codec
from sessions_kms.session import links
from sessions_kms.session.merging import Changes, get_theirs, merge_since
from sessions_kms.session.mixins import Lifetime
from sessions_kms.session.repository import LoadedVersion, SessionRepository
from sessions_kms.storage.session_items import Version

OUTCOME_UNKNOWN: Final = "It is unknown whether the session was saved."


class AnonymousSessionTooLarge(SessionTooLarge, SuspiciousOperation):
    """An anonymous session is larger than `ANONYMOUS_MAX_SIZE`: Django answers 400."""

    def __init__(self, size: int, limit: int) -> None:
        Exception.__init__(
            self,
            f"{size:,} bytes are more than the {limit:,} that are kept before somebody signs in.",
        )


@dataclass(init=False, slots=True, eq=False, repr=False)
class PendingSession:
    """A session to store under a key. ``payload`` is the serialized content.

    ``signed_in`` says that somebody signed in since the session was loaded. ``user_id`` is the
    user's id, None for an anonymous session.
    """

    session_key: str
    content: Mapping[str, Any]
    payload: bytes
    signed_in: bool
    lifetime: Lifetime
    user_id: Any = field(init=False)

    def __init__(
        self,
        session_key: str,
        content: Mapping[str, Any],
        payload: bytes,
        signed_in: bool,
        lifetime: Lifetime,
    ) -> None:
        __traceback_hide__ = True
        self.session_key = session_key
        self.content = content
        self.payload = payload
        self.signed_in = signed_in
        self.lifetime = lifetime
        self.user_id = content.get(USER_ID)

    def starts_anew(self, base: LoadedVersion) -> bool:
        """Return True if there was a sign-in since, which restarts the absolute timeout."""
        return base.is_followed_by_sign_in(self.user_id, signed_in=self.signed_in)

    def is_as_stored(self, base: LoadedVersion, now: float) -> bool:
        """Return True if the stored version has the same content and about the same end."""
        if self.payload != base.payload or self.starts_anew(base):
            return False
        return self.lifetime.is_about(base.ttl, self.content, now, base.created_at)

    def check(self, repository: SessionRepository, base: LoadedVersion | None) -> None:
        """Reject a session that must not replace the stored version.

        Raises AnonymousSessionTooLarge, or ValueError for malformed links.
        """
        __traceback_hide__ = True
        limit = repository.services.config.anonymous_max_size
        if limit is not None and self.user_id is None:
            # A session that is older than the limit may stay, and shrink: rejecting it would lock
            # its visitor out until it ends.
            is_stored = base is not None and base.user_id is None
            size = len(self.payload)
            if size > max(limit, len(base.payload) if base and is_stored else 0):
                raise AnonymousSessionTooLarge(size, limit)
        if links.LINKS in self.content:
            self._check_links(repository, base)

    def _check_links(self, repository: SessionRepository, base: LoadedVersion | None) -> None:
        """Reject malformed links, unless they were stored before: then they are only ignored."""
        __traceback_hide__ = True
        listed = self.content[links.LINKS]
        fault = links.fault_in(listed)
        if fault is None:
            return
        if base is None or repository.codec.loads(base.payload).get(links.LINKS) != listed:
            raise ValueError(fault)

    async def seal(
        self, repository: SessionRepository, base: LoadedVersion | None
    ) -> tuple[SessionRecord, LoadedVersion]:
        """Return the record that follows the stored version, and the version that it will be.

        Raises SessionTooLarge or StoreUnavailable.
        """
        __traceback_hide__ = True
        sealer = await repository.sealing.seal(self.payload)
        created = sealer.now if base is None or self.starts_anew(base) else base.created_at
        keeps_key = base is not None and base.session_key == self.session_key
        record = sealer.record(
            self.session_key,
            revision=base.revision + 1 if base and keeps_key else 1,
            created_at=created,
            ttl=self.lifetime.ttl(self.content, sealer.now, created),
            user_id=self.user_id,
            item_id=base.id if base and keeps_key else None,
            ancestors=next_ancestors(base.salt, base.ancestors) if base else b"",
        )
        return record, LoadedVersion.of(record, self.session_key, self.payload, self.content)


class StoredVersion(Version, Protocol):
    """The version that is stored now, or was when it was read last."""

    @property
    def ancestors(self) -> bytes: ...


def is_same(one: StoredVersion, other: StoredVersion) -> bool:
    """Return True if both are the same record."""
    return (one.revision, one.salt) == (other.revision, other.salt)


class WriteOutcome(Enum):
    """What the stored version shows about attempts to replace another one."""

    UNDECIDED = auto()  # the expected version is still stored: an attempt may still be applied
    OVERTAKEN = auto()  # no attempt was applied, and none can be: another writer was first
    UNKNOWN = auto()  # the expected version is not among the ancestors


@dataclass(slots=True)
class WriteAttempts:
    """The attempts of one save or key change, each with the version that it would store.

    ``pending`` says that an attempt to replace the expected version may have been applied, or may
    still be applied.
    """

    made: list[LoadedVersion] = field(default_factory=list)
    pending: bool = False

    def begin(self, made: LoadedVersion) -> bool:
        """Note an attempt before it is sent: if its thread ends now, its outcome is unknown.

        Return what ``pending`` was, to restore it if the attempt is certainly not applied.
        """
        before, self.pending = self.pending, True
        self.made.append(made)
        return before

    def find_applied(self, stored: StoredVersion) -> LoadedVersion | None:
        """Return the applied attempt: the stored version, or one of its ancestors."""
        for each in reversed(self.made):
            if each.salt == stored.salt or descends(stored.ancestors, each.salt):
                return each
        return None

    def mark_overtaken(self) -> None:
        """Note that no attempt can be applied any more.

        The oldest ones are dropped: each later attempt found another record, so they cannot be
        among the ancestors any more.
        """
        self.pending = False
        del self.made[: -ANCESTORS_MAX - 1]

    def get_outcome(self, expected: LoadedVersion, stored: StoredVersion) -> WriteOutcome:
        """Return the outcome if `find_applied` found no applied attempt."""
        if is_same(stored, expected):
            return WriteOutcome.UNDECIDED
        # Attempts to change the key would have left no record here.
        changes_key = self.pending and self.made[-1].session_key != expected.session_key
        if self.pending and not changes_key and not descends(stored.ancestors, expected.salt):
            return WriteOutcome.UNKNOWN
        return WriteOutcome.OVERTAKEN


@dataclass(slots=True, eq=False, repr=False)
class PendingSave:
    """The pending session of one request, and the version that it started from.

    One write serves all saves that can be merged; the request that writes sets ``saved`` or
    ``error`` for the others. ``merges`` is False if it must not be merged.
    """

    base: LoadedVersion
    session: PendingSession
    merges: bool = True
    attempts: WriteAttempts = field(default_factory=WriteAttempts)
    changes: Changes | None = None
    is_base_known: bool = False  # to the request that writes
    saved: LoadedVersion | None = None
    error: Exception | None = None

    @property
    def is_mergeable(self) -> bool:
        """Return True if it can share a write: its user stays, and it has seen what it changes."""
        is_same_user = self.base.user_id == self.session.user_id
        return self.merges and is_same_user and not self.base.is_unseen

    def starts_from(self, known: LoadedVersion) -> bool:
        """Return True if it can be written unmerged."""
        return self.base is known or is_same(self.base, known)

    def is_stored_in(self, known: LoadedVersion, now: float) -> bool:
        """Return True if it only moves the session's end, as another request has just done."""
        session, base = self.session, self.base
        return (
            session.payload == base.payload
            and self.is_mergeable
            and known.user_id == base.user_id
            and not session.starts_anew(base)
            and session.lifetime.is_about(known.ttl, session.content, now, known.created_at)
        )

    def get_changes(self, codec: Codec) -> Changes:
        """Return its changes, computed once.

        Raises TypeError if the serializer does not read what it has written.
        """
        __traceback_hide__ = True
        if self.changes is None:
            try:
                base, ours = codec.loads(self.base.payload), codec.loads(self.session.payload)
                self.changes = Changes.between(base, ours, codec.dumps)
            except InvalidRecord:
                pass
        if self.changes is None:
            raise TypeError("SESSION_SERIALIZER does not read what it has written.")
        return self.changes

    def merge_into(self, content: dict[str, Any], codec: Codec) -> dict[str, Any]:
        """Return the content that others stored meanwhile, with the changes merged into it."""
        __traceback_hide__ = True
        changes = self.get_changes(codec)
        return changes.merge_into(content) | links.merge(changes.base, changes.ours, content)

    def get_result(self) -> LoadedVersion:
        """Return the version that was stored. Raises the error if there is none."""
        if self.error is not None:
            raise self.error
        if self.saved is None:
            raise StoreUnavailable
        return self.saved

    def settle_if_applied(self, stored: StoredVersion) -> bool:
        """Set ``saved``, and return True, if the stored version shows an applied attempt."""
        self.saved = self.attempts.find_applied(stored)
        return self.saved is not None

    def settle_if_unknown(self, expected: LoadedVersion, stored: StoredVersion) -> bool:
        """Set ``error``, and return True, if its outcome can never be known.

        Otherwise it can be tried again.
        """
        outcome = self.attempts.get_outcome(expected, stored)
        if outcome is WriteOutcome.UNKNOWN:
            self.error = StoreUnavailable(OUTCOME_UNKNOWN)
        elif outcome is WriteOutcome.OVERTAKEN:
            self.attempts.mark_overtaken()
        return outcome is WriteOutcome.UNKNOWN


def merge_pending(
    codec: Codec,
    session: PendingSession,
    base: LoadedVersion,
    theirs: LoadedVersion,
    content: dict[str, Any],
) -> PendingSession:
    """Return a pending session merged with a newer version, whose content is given.

    Raises UpdateError if it is no longer the same user's session.
    """
    __traceback_hide__ = True
    merged = get_theirs(codec, base, session.user_id, theirs, content)
    if session.payload != base.payload:
        merged = merge_since(codec, base.payload, codec.loads(session.payload), merged)
    return replace(session, content=merged, payload=codec.dumps(merged))
