"""`SessionStore`: Django's session contract over the encrypted table.

What a request loaded is its baseline. A save states that the baseline still
stands; if another request saved meanwhile, what this one changed is laid over
that, and the save is tried again.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils.crypto import get_random_string

from sessions_kms.concurrency.lanes import BUSY
from sessions_kms.exceptions import FateUnknown, InvalidRecord, SessionMoved, StoreUnavailable
from sessions_kms.format.record import SHORT_ID, SessionRecord
from sessions_kms.format.tombstone import Tombstone
from sessions_kms.sealed_items import about
from sessions_kms.services import services
from sessions_kms.session import links, next_cookie
from sessions_kms.session.async_methods import sync_only
from sessions_kms.session.fate import Tries
from sessions_kms.session.loading import id_of, refuse
from sessions_kms.session.saving import SavingStore, Stored
from sessions_kms.session.snapshot import Baseline
from sessions_kms.signals import announce, session_created, session_cycled, session_ended
from sessions_kms.storage.table import Conflict, RecordExists
from sessions_kms.telemetry import telemetry

T = TypeVar("T")
CREATES_MAX = 3  # keys under which a session of unknown fate is created


class SessionStore(SavingStore):
    """Sessions sealed under AWS KMS and the visitor's cookie, kept in DynamoDB."""

    def create(self) -> None:
        """Store the session under a new key."""
        __traceback_hide__ = True
        sync_only()
        before = self.session_key
        try:
            self._create()
        except BaseException:
            self._session_key = before  # The cookie of a session that was not stored is no use.
            raise
        self.modified = True

    def _create(self) -> None:
        """Try one key after another: one that may yet be stored is never used again."""
        __traceback_hide__ = True
        for _ in range(CREATES_MAX):
            self._session_key = _new_session_key()
            try:
                self.save(must_create=True)
            except (CreateError, FateUnknown):
                continue
            return
        raise StoreUnavailable

    def save(self, must_create: bool = False) -> None:
        """Store the session.

        Raises CreateError if it must be new and is not, UpdateError if it was ended
        meanwhile, SessionTooLarge (of its kind AnonymousSessionTooLarge, which is a 400
        to Django), or StoreUnavailable.
        """
        sync_only()
        if self.session_key is None:
            self.create()
            return
        self._get_session(no_load=must_create)
        if must_create:
            self._put_new()
        elif not self.session_key:  # Nothing was there to load.
            self.create()
        else:
            self._update()

    def cycle_key(self) -> None:
        """Move the session to a new key, in one transaction.

        Raises SessionInterrupted if another request ended it, StoreUnavailable if another
        moved it, or if it cannot be told: then it may have moved, or may yet.
        """
        sync_only()
        self._get_session()
        if self.session_key is None:
            self.create()
            return
        try:
            previous = self._id()
            self._stored_by("cycle", self._move_to, _new_session_key())  # one for all tries
        except SessionMoved:
            next_cookie.not_changed()
            raise
        except UpdateError:
            next_cookie.not_changed()
            raise SessionInterrupted("The session ended before its key was changed.") from None
        self.modified = True
        user_id = self._baseline.user_id if self._baseline else None
        announce(session_cycled, self._id(), previous=previous[:SHORT_ID], user_id=user_id)

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session.

        Raises StoreUnavailable, also where it lives on under a key that nobody told.
        """
        __traceback_hide__ = True
        sync_only()
        key = self._own_key() if session_key is None else session_key
        if key is not None and self._validate_session_key(key):
            with telemetry.spanned("operation", "delete"):
                if not services().table.end(id_of(key)):
                    raise SessionMoved
                if self._baseline and self._baseline.session_key == key and self._baseline.about:
                    about.About(services()).drop(id_of(key))
            announce(session_ended, id_of(key))

    def _own_key(self) -> str | None:
        """Return the key of this session; one that was not loaded may have another by now."""
        __traceback_hide__ = True
        key = self.session_key
        is_loaded = self._baseline is not None and self._baseline.session_key == key
        if key is None or is_loaded or not self._validate_session_key(key):
            return key
        if next_cookie.follows(key):
            self._read()
        return self.session_key

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing: DynamoDB deletes expired items by their `ttl`."""

    def _put_new(self) -> None:
        __traceback_hide__ = True
        payload = self._codec.dumps(self._session_cache)
        record, baseline = self._seal(self._key, None, payload)
        links.write(services(), record, baseline.links)
        about.About(services()).write(record, about.told(baseline))
        try:
            with telemetry.spanned("operation", "create"):
                services().table.create(record, now=record.updated_at)
        except RecordExists:
            raise CreateError from None
        self._stored(baseline)
        announce(session_created, record.id, user_id=baseline.user_id)

    def _update(self) -> None:
        __traceback_hide__ = True
        baseline = self._baseline
        payload = self._codec.dumps(self._session_cache)
        if (
            baseline is None
            or baseline.session_key != self.session_key
            or not self._may_stay(baseline, payload)
        ):
            self._stored_by("save", self._save_shared, payload)
        elif self._caught_up:
            self._must_be_there()

    def _must_be_there(self) -> None:
        """Raise where nothing is to be written, but a dead cookie is not to be renewed."""
        __traceback_hide__ = True
        if self.exists(self._key):
            return
        if isinstance(services().table.find(self._id()), Tombstone):
            raise SessionMoved
        raise UpdateError

    def _stored_by(self, operation: str, write: Callable[[T], None], what: T) -> None:
        __traceback_hide__ = True
        try:
            with telemetry.spanned("operation", operation):
                write(what)
        except InvalidRecord as exc:
            refuse(self._id(), exc)
        else:
            return
        raise UpdateError  # Outside the handler: frames of the record's error hold keys.

    def _move_to(self, new_key: str) -> None:
        """Try to change the key until the baseline that a try expects stands, or time is over."""
        __traceback_hide__ = True
        baseline, tries, patience = self._expected(), Tries(), services().lanes.patience()
        while True:
            try:
                self._move(new_key, baseline, tries)
            except Conflict as exc:
                current = exc.current
                telemetry.count("conflicts")
            except FateUnknown:
                tries.pending = True
                current = self._standing(self._id())
            else:
                self._moved(baseline, tries.made[-1])
                return
            if (applied := self._applied(current, tries)) is not None:
                self._moved(baseline, applied)
                return
            expected, baseline = baseline, self._next_base(baseline, current, tries)
            if patience.is_over:
                raise StoreUnavailable(BUSY)
            if baseline is expected:  # One may arrive yet.
                services().wait(patience.pause())

    def _move(self, new_key: str, expected: Baseline, tries: Tries) -> None:
        __traceback_hide__ = True
        payload = self._codec.dumps(self._session_cache)
        record, baseline = self._seal(new_key, replace(expected, revision=0), payload)
        tries.made.append(baseline)
        links.write(services(), record, baseline.links)
        next_cookie.may_change(self._key, new_key)  # Whatever fails from now on.
        words = about.told(baseline)
        services().table.move(
            record,
            old_id=self._id(),
            expected=expected,
            now=record.updated_at,
            put=about.About(services()).sealed(record, words) if words else None,
            delete=about.id_of(services(), self._id()) if expected.about else None,
        )

    def _applied(self, current: Stored, tries: Tries) -> Baseline | None:
        """Return the try that was applied, by what stands under the old id, then the new one."""
        __traceback_hide__ = True
        if not isinstance(current, SessionRecord):
            current = self._standing(id_of(tries.made[-1].session_key))
        return tries.applied(current) if isinstance(current, SessionRecord) else None

    def _moved(self, expected: Baseline, made: Baseline) -> None:
        """Go on from the try that was applied."""
        __traceback_hide__ = True
        old_key = self._key
        links.drop(services(), self._id(), expected.links)
        self._session_key = made.session_key
        next_cookie.changed(self, old_key, made.session_key)
        self._stored(made)

    def _may_stay(self, baseline: Baseline, payload: bytes) -> bool:
        """Tell whether what is stored says the same, and ends at about the same time."""
        __traceback_hide__ = True
        if self._starts_anew(baseline) or payload != baseline.payload:
            return False
        now = services().clock()
        moved = abs(self._ttl(now, baseline.created_at) - baseline.ttl)
        return moved * 10 <= self._idle_age(now)


def _new_session_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)


def _restart_absolute_timeout(*, request: Any, **_: Any) -> None:
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session._signed_in = True
        session.modified = True


user_logged_in.connect(_restart_absolute_timeout, dispatch_uid="sessions_kms.backend")
