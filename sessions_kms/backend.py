"""`SessionStore`: Django's session contract over the encrypted table.

What a request loaded is its baseline. A save states that the baseline still
stands; if another request saved meanwhile, what this one changed is laid over
that, and the save is tried again.
"""

import logging
import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import Any, cast

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils.crypto import get_random_string

from sessions_kms import links
from sessions_kms.asynchronous import AsyncStore, sync_only
from sessions_kms.baseline import Baseline
from sessions_kms.codec import Codec
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.merge import merge
from sessions_kms.record import SessionRecord, session_id
from sessions_kms.sealing import open_record, seal_session
from sessions_kms.services import services
from sessions_kms.table import Conflict, RecordExists

logger = logging.getLogger("django.security.SuspiciousSession")

TRIES = 10  # of a write that meets other writes
PAUSE = 0.02  # seconds at most before the second try, growing with each
SESSION_KEY = re.compile(r"[a-z0-9]{32}")


class SessionStore(AsyncStore):
    """Sessions sealed under AWS KMS and the visitor's cookie, kept in DynamoDB."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._codec = Codec(self.serializer())
        self._baseline: Baseline | None = None
        self._signed_in = False
        self._loading = Lock()

    # Loading

    def exists(self, session_key: str) -> bool:
        """Tell whether a live session has this key."""
        __traceback_hide__ = True
        sync_only()
        if not self._validate_session_key(session_key):
            return False
        try:
            record = services().table.get(_id(session_key))
        except InvalidRecord as exc:
            _log_refused(_id(session_key), exc)
            return False
        return record is not None and services().is_live(record)

    def load(self) -> dict[str, Any]:
        """Return what is stored; for a session that is not, or not valid, {} and no key."""
        sync_only()
        return self._load()[1]

    def _load(self) -> tuple[Baseline | None, dict[str, Any]]:
        found = self._read() if self.session_key else None
        if found is None:
            self._session_key = None
            return None, {}
        return found

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            with self._loading:  # Concurrent tasks of one request share one load.
                if not hasattr(self, "_session_cache"):
                    self._session_cache = self._first_content(no_load)
        return self._session_cache

    _session = property(_get_session)

    def _first_content(self, no_load: bool) -> dict[str, Any]:
        if no_load or self.session_key is None:
            return {}
        sync_only()
        self._baseline, content = self._load()
        return content

    def _read(self) -> tuple[Baseline, dict[str, Any]] | None:
        try:
            record = services().table.get(self._id())
            if record is None or not services().is_live(record):
                return None
            return self._open(record)
        except InvalidRecord as exc:
            _log_refused(self._id(), exc)
            return None

    def _open(self, record: SessionRecord) -> tuple[Baseline, dict[str, Any]]:
        __traceback_hide__ = True
        payload = open_record(services(), record, self._key)
        content = self._codec.loads(payload)
        return Baseline.of(record, self._key, payload, content), content

    # Writing

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
        meanwhile, SessionTooLarge, or StoreUnavailable.
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
            self._until_stored(self._move)
        except UpdateError:
            raise SessionInterrupted("The session ended before its key was changed.") from None
        self.modified = True

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session."""
        __traceback_hide__ = True
        sync_only()
        key = self.session_key if session_key is None else session_key
        if key is not None and self._validate_session_key(key):
            services().table.delete(_id(key))

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing: DynamoDB deletes expired items by their `ttl`."""

    def created(self) -> int | None:
        baseline = self._baseline
        if baseline is None or baseline.session_key != self.session_key:
            return None
        return None if self._starts_anew(baseline) else baseline.created_at

    def _put_new(self) -> None:
        record, baseline = self._seal(self._key, None)
        links.write(services(), record, baseline.links)
        try:
            services().table.create(record, now=record.updated_at)
        except RecordExists:
            raise CreateError from None
        self._stored(baseline)

    def _update(self) -> None:
        baseline = self._baseline
        if (
            baseline is None
            or baseline.session_key != self.session_key
            or not self._may_stay(baseline)
        ):
            self._until_stored(self._replace)

    def _until_stored(self, write: Callable[[Baseline], None]) -> None:
        """Try a write until the baseline that it expects stands, a bounded number of times."""
        try:
            stored = self._tried(write)
        except InvalidRecord as exc:
            _log_refused(self._id(), exc)
        else:
            if stored:
                return
            raise StoreUnavailable("The session is being changed by too many requests at once.")
        raise UpdateError  # Outside the handler: frames of the record's error hold keys.

    def _tried(self, write: Callable[[Baseline], None]) -> bool:
        baseline = self._expected()
        for tries in range(1, TRIES + 1):
            try:
                write(baseline)
            except Conflict as exc:
                current = exc.current
            else:
                return True
            baseline = self._rebase(baseline, current)
            services().sleep(random.uniform(0, PAUSE * tries))  # noqa: S311 - only spreads
        return False

    def _replace(self, expected: Baseline) -> None:
        record, baseline = self._seal(self._key, expected)
        links.write(services(), record, links.due(services(), record, baseline, expected))
        services().table.replace(record, expected=expected, now=record.updated_at)
        links.drop(services(), record.id, expected.links - baseline.links)
        self._stored(baseline)

    def _move(self, expected: Baseline) -> None:
        old_id = self._id()
        record, baseline = self._seal(_new_session_key(), replace(expected, revision=0))
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

    def _seal(self, session_key: str, expected: Baseline | None) -> tuple[SessionRecord, Baseline]:
        """Seal the session as it is now, to follow what is expected to be stored."""
        __traceback_hide__ = True
        session = self._session_cache
        payload = self._codec.dumps(session)
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

    def _may_stay(self, baseline: Baseline) -> bool:
        """Tell whether what is stored says the same, and ends at about the same time."""
        if self._starts_anew(baseline) or self._codec.dumps(self._session_cache) != (
            baseline.payload
        ):
            return False
        now = services().clock()
        moved = abs(self._ttl(now, baseline.created_at) - baseline.ttl)
        return moved * 10 <= self._idle_age(now)

    def _starts_anew(self, baseline: Baseline) -> bool:
        """Tell whether someone signed in since, so that the absolute timeout starts again."""
        user_id = self._session_cache.get(USER_ID) if hasattr(self, "_session_cache") else None
        return self._signed_in or (user_id is not None and user_id != baseline.user_id)

    # Meeting other requests

    def _expected(self) -> Baseline:
        """Return the baseline of this key; one that is only looked up now is never merged."""
        if self._baseline is None or self._baseline.session_key != self.session_key:
            found = self._read()
            if found is None:
                raise UpdateError
            self._baseline = replace(found[0], replaced=True)
        return self._baseline

    def _rebase(self, baseline: Baseline, current: SessionRecord | None) -> Baseline:
        """Lay this request's changes over what stands now, and make that the baseline."""
        __traceback_hide__ = True
        if current is None or not services().is_live(current):
            raise UpdateError
        theirs, content = self._open(current)
        if baseline.replaced:
            self._baseline = replace(theirs, replaced=True)
        else:
            self._lay_over(baseline, theirs, content)
            self._baseline = theirs
        return self._baseline

    def _lay_over(self, baseline: Baseline, theirs: Baseline, content: dict[str, Any]) -> None:
        __traceback_hide__ = True
        session = self._session_cache
        if not baseline.user_id == theirs.user_id == session.get(USER_ID):
            raise UpdateError
        ours = {
            key: session.get(key, value) for key, value in self._codec.round_trip(session).items()
        }
        base = self._codec.loads(baseline.payload)
        merged = merge(base, ours, content, self._codec.dumps) | links.merged(base, ours, content)
        session.clear()
        session.update(merged)

    @property
    def _key(self) -> str:
        """The session key, where there must be one."""
        return cast("str", self.session_key)

    def _id(self) -> str:
        return _id(self._key)

    def _validate_session_key(self, key: str | None) -> bool:
        return key is not None and SESSION_KEY.fullmatch(key) is not None


def _new_session_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)


def _id(session_key: str) -> str:
    __traceback_hide__ = True
    return session_id(services().config.namespace, session_key)


def _log_refused(record_id: str, error: InvalidRecord) -> None:
    logger.warning("Session record %s... refused: %s", record_id[:8], error.reason)


def _restart_absolute_timeout(*, request: Any, **_: Any) -> None:
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session._signed_in = True
        session.modified = True


user_logged_in.connect(_restart_absolute_timeout, dispatch_uid="sessions_kms.backend")
