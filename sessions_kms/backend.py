"""`SessionStore`: Django's session contract over the encrypted table.

What a request loaded is its baseline. A save states that the baseline still
stands; if another request saved meanwhile, what this one changed is laid over
that, and the save is tried again.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils.crypto import get_random_string

from sessions_kms import anonymous, links
from sessions_kms.asynchronous import sync_only
from sessions_kms.baseline import Baseline
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.loading import id_of, refuse
from sessions_kms.rebasing import RebasingStore
from sessions_kms.record import SHORT_ID, SessionRecord
from sessions_kms.sealing import seal_session
from sessions_kms.services import services
from sessions_kms.signals import announce, session_created, session_cycled, session_ended
from sessions_kms.table import Conflict, RecordExists
from sessions_kms.telemetry import telemetry

TRIES = 10  # of a write that meets other writes
PAUSE = 0.02  # seconds at most before the second try, growing with each

Write = Callable[[Baseline, bytes], None]  # of what is expected to be stored, and a new payload


class SessionStore(RebasingStore):
    """Sessions sealed under AWS KMS and the visitor's cookie, kept in DynamoDB."""

    def create(self) -> None:
        """Store the session under a new key."""
        __traceback_hide__ = True
        sync_only()
        before = self.session_key
        try:
            for _ in range(TRIES):
                self._session_key = _new_session_key()
                with suppress(CreateError):
                    self.save(must_create=True)
                    break
            else:
                raise StoreUnavailable  # noqa: TRY301 - no table says so of that many random keys
        except BaseException:
            self._session_key = before  # The cookie of a session that was not stored is no use.
            raise
        self.modified = True

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

        Raises SessionInterrupted if another request ended it.
        """
        sync_only()
        self._get_session()
        if self.session_key is None:
            self.create()
            return
        try:
            previous = self._id()
            self._until_stored("cycle", self._move, self._codec.dumps(self._session_cache))
        except UpdateError:
            raise SessionInterrupted("The session ended before its key was changed.") from None
        self.modified = True
        user_id = self._baseline.user_id if self._baseline else None
        announce(session_cycled, self._id(), previous=previous[:SHORT_ID], user_id=user_id)

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session."""
        __traceback_hide__ = True
        sync_only()
        key = self.session_key if session_key is None else session_key
        if key is not None and self._validate_session_key(key):
            with telemetry.spanned("operation", "delete"):
                services().table.delete(id_of(key))
            announce(session_ended, id_of(key))

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing: DynamoDB deletes expired items by their `ttl`."""

    def _put_new(self) -> None:
        __traceback_hide__ = True
        payload = self._codec.dumps(self._session_cache)
        record, baseline = self._seal(self._key, None, payload)
        links.write(services(), record, baseline.links)
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
            self._until_stored("save", self._replace, payload)
        elif self._caught_up and not self.exists(self._key):
            raise UpdateError  # Nothing is to be written, but a dead cookie is not to be renewed.

    def _until_stored(self, operation: str, write: Write, payload: bytes) -> None:
        """Try a write until the baseline that it expects stands, a bounded number of times."""
        __traceback_hide__ = True
        try:
            with telemetry.spanned("operation", operation):
                stored = self._tried(write, payload)
        except InvalidRecord as exc:
            refuse(self._id(), exc)
        else:
            if stored:
                return
            raise StoreUnavailable("The session is being changed by too many requests at once.")
        raise UpdateError  # Outside the handler: frames of the record's error hold keys.

    def _tried(self, write: Write, payload: bytes) -> bool:
        __traceback_hide__ = True
        baseline = self._expected()
        for tries in range(1, TRIES + 1):
            try:
                write(baseline, payload)
            except Conflict as exc:
                current = exc.current
                telemetry.count("conflicts")
            else:
                return True
            baseline = self._rebase(baseline, current)
            payload = self._codec.dumps(self._session_cache)
            services().sleep(random.uniform(0, PAUSE * tries))  # noqa: S311 - only spreads
        return False

    def _replace(self, expected: Baseline, payload: bytes) -> None:
        __traceback_hide__ = True
        record, baseline = self._seal(self._key, expected, payload)
        links.write(services(), record, links.due(services(), record, baseline, expected))
        services().table.replace(record, expected=expected, now=record.updated_at)
        links.drop(services(), record.id, expected.links - baseline.links)
        self._stored(baseline)

    def _move(self, expected: Baseline, payload: bytes) -> None:
        __traceback_hide__ = True
        old_id = self._id()
        record, baseline = self._seal(_new_session_key(), replace(expected, revision=0), payload)
        links.write(services(), record, baseline.links)
        try:
            services().table.move(record, old_id=old_id, expected=expected, now=record.updated_at)
        except RecordExists:
            raise Conflict(services().table.get(old_id)) from None
        links.drop(services(), old_id, expected.links)
        self._session_key = baseline.session_key
        self._stored(baseline)

    def _stored(self, baseline: Baseline) -> None:
        self._baseline = baseline
        self._signed_in = False

    def _seal(
        self, session_key: str, expected: Baseline | None, payload: bytes
    ) -> tuple[SessionRecord, Baseline]:
        """Seal the session, serialized as it is now, to follow what is expected to be stored."""
        __traceback_hide__ = True
        self._check_size(expected, payload)
        self._check_links(expected)
        session = self._session_cache
        anew = expected is None or self._starts_anew(expected)
        record = seal_session(
            services(),
            payload,
            session_key=session_key,
            revision=(expected.revision if expected else 0) + 1,
            created_at=None if anew or expected is None else expected.created_at,
            ttl=self._ttl,
            user_id=session.get(USER_ID),
        )
        return record, Baseline.of(record, session_key, payload, session)

    def _check_size(self, expected: Baseline | None, payload: bytes) -> None:
        """Refuse more than may be kept for nobody. Raises AnonymousSessionTooLarge."""
        __traceback_hide__ = True
        if self._session_cache.get(USER_ID) is not None:
            return
        was_anonymous = expected is not None and expected.user_id is None
        anonymous.check_size(
            len(payload),
            services().config.anonymous_max_size,
            stored=len(expected.payload) if expected is not None and was_anonymous else None,
        )

    def _check_links(self, expected: Baseline | None) -> None:
        """Refuse malformed links, unless they were stored before: then they are only ignored."""
        __traceback_hide__ = True
        listed = self._session_cache.get(links.LINKS, [])
        fault = links.fault_in(listed)
        if fault is None:
            return
        if expected is None or self._codec.loads(expected.payload).get(links.LINKS) != listed:
            raise ValueError(fault)

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
