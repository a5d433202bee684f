"""`SessionStore`: Django's session contract over the encrypted table.

What a request loaded is its baseline. A save requires that the baseline is still
stored; if another request has saved since, the changes of this one are merged into
that version, and the save is tried again.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils.crypto import get_random_string

from sessions_kms.concurrency.lazy_module import LazyModule, is_imported
from sessions_kms.concurrency.waits import BlockingCall, CoroutineLock, Wait, is_held_here, run_sync
from sessions_kms.exceptions import FateUnknown, InvalidRecord, SessionMoved, StoreUnavailable
from sessions_kms.format.item_types import SESSION_KEY, SHORT_ID, session_id
from sessions_kms.format.serializer import codec_of
from sessions_kms.session import prefetch
from sessions_kms.session.mixins import (
    AsyncMethods,
    Expiry,
    Lifetime,
    ProjectMethod,
    Redaction,
    Verb,
    forbid_in_event_loop,
    is_overridden,
    is_sync_only,
)
from sessions_kms.session.prefetch import Prefetched
from sessions_kms.session.sign_ins import SignIns
from sessions_kms.session.visits import Visits
from sessions_kms.signals import announce_async, session_created, session_cycled, session_ended
from sessions_kms.telemetry import telemetry

if TYPE_CHECKING:
    from sessions_kms import services
    from sessions_kms.operations import session_limit
    from sessions_kms.operations.session_limit import EndedSession
    from sessions_kms.services import Services
    from sessions_kms.session import merging, moving, next_cookie, repository, saving
    from sessions_kms.session import pending as pending_sessions
    from sessions_kms.session.pending import PendingSession
    from sessions_kms.session.repository import LoadedSession, LoadedVersion, SessionRepository
else:  # A project that starts needs only the class; these are imported with the first session.
    services = LazyModule("sessions_kms.services")
    session_limit = LazyModule("sessions_kms.operations.session_limit")
    merging = LazyModule("sessions_kms.session.merging")
    moving = LazyModule("sessions_kms.session.moving")
    next_cookie = LazyModule("sessions_kms.session.next_cookie")
    pending_sessions = LazyModule("sessions_kms.session.pending")
    repository = LazyModule("sessions_kms.session.repository")
    saving = LazyModule("sessions_kms.session.saving")

KEYS_TRIED_MAX = 3  # for a new session, while the outcome of its creation is unknown


class SessionStore(AsyncMethods, Expiry, Redaction, SignIns, Visits):
    """Sessions in DynamoDB, sealed under AWS KMS and the visitor's cookie.

    Everything is implemented once, as coroutines (`_load`, `_save`, …): the sync methods of
    Django's interface run them in their thread, the async ones in the event loop.
    """

    merges = True  # If False, a save raises UpdateError if others have stored anything since.
    ended_content: Mapping[str, Any] | None = None  # of `delete`, if others stored it since
    _baseline: "LoadedVersion | None" = None
    _loaded_last: "LoadedVersion | None" = None  # set by the load that fills the session
    _session_cache: dict[str, Any]
    ended_at_sign_in: "Sequence[EndedSession]" = ()  # by `MAX_SESSIONS_PER_USER`

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._codec = codec_of(self.serializer)
        self._caught_up = False
        self._loading_lock = CoroutineLock()

    # Django's interface

    def load(self) -> dict[str, Any]:
        """Return the stored content; for a missing or invalid session {}, and unset the key."""
        __traceback_hide__ = True
        forbid_in_event_loop()
        return run_sync(self._load())

    def exists(self, session_key: str) -> bool:
        """Return True if a live session has this key."""
        __traceback_hide__ = True
        forbid_in_event_loop()
        return run_sync(self._exists(session_key))

    def create(self) -> None:
        """Store the session under a new key."""
        __traceback_hide__ = True
        forbid_in_event_loop()
        run_sync(self._create())

    def save(self, must_create: bool = False) -> None:
        """Store the session.

        Raises CreateError if it must be new and is not, UpdateError if it has ended since,
        SessionTooLarge (or its subclass AnonymousSessionTooLarge, for which Django answers
        400), or StoreUnavailable.
        """
        __traceback_hide__ = True
        forbid_in_event_loop()
        run_sync(self._save(must_create))

    def cycle_key(self) -> None:
        """Move the session to a new key, in one transaction.

        Raises SessionInterrupted if another request ended it, StoreUnavailable if another
        moved it, or if the outcome is unknown: then it may have moved, or may still move.
        """
        __traceback_hide__ = True
        forbid_in_event_loop()
        run_sync(self._cycle())

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session.

        Raises StoreUnavailable, also if the session moved to a key that is not known here.
        """
        __traceback_hide__ = True
        forbid_in_event_loop()
        run_sync(self._delete(session_key))

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing: DynamoDB deletes expired items by their `ttl`."""

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        __traceback_hide__ = True
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            key = self.session_key
            needs_none = no_load or key is None or prefetch.is_available(key)
            if self._loading_lock.is_locked or not needs_none:
                forbid_in_event_loop()  # Before waiting for the lock of another load.
            run_sync(self._get_content(no_load))
        return self._session_cache

    _session = property(_get_session)

    def _validate_session_key(self, key: str | None) -> bool:
        return key is not None and SESSION_KEY.fullmatch(key) is not None

    # Additional methods

    def catch_up(self, other: "SessionStore") -> None:
        """Continue from the version that another object of this session has just loaded or stored.

        The changes of this one are merged into it, and saved as usual. The response renews the
        cookie, whose age may have changed. Raises UpdateError if it is no longer the same
        user's session.
        """
        __traceback_hide__ = True
        mine, theirs = self._baseline, other._baseline
        if mine is None or theirs is None or mine.session_key != theirs.session_key:
            return
        if theirs.revision > mine.revision and not mine.is_unseen:
            session = self._session_cache
            merging.update_session(self._codec, session, session.get(USER_ID), mine, theirs)
            self._baseline = theirs
        self._caught_up = self.modified = True

    async def aprefetch(self) -> Prefetched:
        """Read the session now, for its first load (`sessions_kms.ahead`)."""
        __traceback_hide__ = True
        found = Prefetched(self._key)
        await found.read(self._prefetch())
        return found

    # The coroutines

    async def _get_content(self, no_load: bool = False) -> dict[str, Any]:
        """Return the content: concurrent threads and tasks of one request share one load."""
        __traceback_hide__ = True
        self.accessed = True
        if hasattr(self, "_session_cache"):
            return self._session_cache
        if not self._loading_lock.acquire_nowait():
            await self._loading_lock.acquire()
        try:
            if not hasattr(self, "_session_cache"):
                content = await self._load_content(no_load)
                if not hasattr(self, "_session_cache"):  # Otherwise it was cleared in the meantime.
                    self._session_cache = content
        finally:
            self._loading_lock.release()
        return self._session_cache

    async def _load_content(self, no_load: bool) -> dict[str, Any]:
        __traceback_hide__ = True
        key = self.session_key
        if no_load or key is None:
            return {}
        if is_overridden(type(self), SessionStore, "load"):
            content: dict[str, Any] = await ProjectMethod(self, "load", ())
            self._baseline = self._loaded_last
            return content
        found = await self._load_session(prefetch.claim(key))
        self._baseline = found and found[0]
        return {} if found is None else found[1]

    async def _load(self) -> dict[str, Any]:
        __traceback_hide__ = True
        found = await self._load_session()
        if type(self) is not SessionStore and is_held_here(self._loading_lock):
            # A project's own method called this, to fill the session.
            self._loaded_last = found and found[0]
        return {} if found is None else found[1]

    async def _load_session(self, ahead: Prefetched | None = None) -> "LoadedSession | None":
        """Load the session; unset the key of a missing or invalid one."""
        __traceback_hide__ = True
        found, key = None, self.session_key
        if key:
            found = ahead.take() if ahead else await self._repository().load(key)
            self._adopt_key(key, found)
        if found is None and self.session_key == key:
            self._session_key = None
        return found

    async def _read_key(self, key: str) -> "LoadedSession | None":
        """Read the session of a key; keep the key if there is none."""
        __traceback_hide__ = True
        found = await self._repository().load(key)
        self._adopt_key(key, found)
        return found

    def _adopt_key(self, requested: str, found: "LoadedSession | None") -> None:
        """Adopt the key of the session that was read, unless another task has changed it since."""
        __traceback_hide__ = True
        if found is not None and found[0].session_key != requested == self.session_key:
            self._session_key = found[0].session_key
            next_cookie.note_new_key(self)

    async def _prefetch(self) -> "LoadedSession | None":
        __traceback_hide__ = True
        if (wait := self._get_preparation()) is not None:
            await wait
        return await self._repository().load(self._key)

    async def _exists(self, session_key: str) -> bool:
        __traceback_hide__ = True
        if not self._validate_session_key(session_key):
            return False
        return await self._repository().exists(session_key)

    async def _create(self) -> None:
        __traceback_hide__ = True
        before = self.session_key
        try:
            await self._create_under_new_key()
        except BaseException:
            self._session_key = before  # The cookie of a session that was not stored is no use.
            raise
        self.modified = True

    async def _create_under_new_key(self) -> None:
        """Try several keys: one whose record may still be stored is never used again."""
        __traceback_hide__ = True
        for _ in range(KEYS_TRIED_MAX):
            self._session_key = _new_session_key()
            try:
                await self._run_method("save", self._save, True)
            except (CreateError, FateUnknown):
                continue
            return
        raise StoreUnavailable

    async def _run_method(
        self, verb: Verb, method: Callable[..., Coroutine[Any, Any, Any]], *args: Any
    ) -> Any:
        """Call this method, or the one that a project overrides it with."""
        __traceback_hide__ = True
        if is_overridden(type(self), SessionStore, verb):
            return await ProjectMethod(self, verb, args)
        return await method(*args)

    async def _save(self, must_create: bool = False) -> None:
        __traceback_hide__ = True
        if self.session_key is not None:
            self.accessed = True
            if not hasattr(self, "_session_cache"):
                await self._get_content(no_load=must_create)
        key = self.session_key  # Read once: another thread may unset or change it.
        if not key:  # There was nothing to load.
            await self._run_method("create", self._create)
        elif must_create:
            await self._insert(key)
        else:
            await self._update(key)

    async def _insert(self, key: str) -> None:
        __traceback_hide__ = True
        sessions = self._repository()
        pending = self._get_pending(key, sessions)
        stored = await saving.create(sessions, pending)
        await self._finish_write_of(pending, stored)
        await announce_async(session_created, stored.id, user_id=stored.user_id)

    async def _update(self, key: str) -> None:
        """Store what has changed, if anything has."""
        __traceback_hide__ = True
        sessions = self._repository()
        base, pending = self._get_baseline(key), self._get_pending(key, sessions)
        if base is None or not pending.is_as_stored(base, sessions.services.clock()):
            await self._run_write("save", self._replace(sessions, pending, base))
        elif self._caught_up:  # Nothing to write; but do not renew the cookie of an ended session.
            await sessions.require_existing(key)

    async def _replace(
        self,
        sessions: "SessionRepository",
        pending: "PendingSession",
        base: "LoadedVersion | None",
    ) -> None:
        __traceback_hide__ = True
        if base is None:
            base = await self._get_base()
        if pending.session_key != base.session_key:  # The key has just been looked up.
            pending = replace(pending, session_key=base.session_key)
        stored = await saving.Saving(sessions, pending, base, merges=self.merges).run()
        await self._finish_write_of(pending, stored)

    async def _cycle(self) -> None:
        __traceback_hide__ = True
        await self._get_content()
        if (key := self.session_key) is None:
            await self._run_method("create", self._create)
            return
        previous, new_key = self._id(key), _new_session_key()  # the same for all attempts
        try:
            await self._run_write("cycle", self._move(new_key))
        except SessionMoved:
            next_cookie.note_not_changed()
            raise
        except UpdateError:
            next_cookie.note_not_changed()
            raise SessionInterrupted("The session ended before its key was changed.") from None
        self.modified = True
        user_id = self._baseline.user_id if self._baseline else None
        details = {"previous": previous[:SHORT_ID], "user_id": user_id}
        await announce_async(session_cycled, self._id(new_key), **details)

    async def _move(self, new_key: str) -> None:
        __traceback_hide__ = True
        base, sessions = await self._get_base(), self._repository()
        pending = self._get_pending(new_key, sessions)
        stored = await moving.Moving(sessions, pending, base).run()
        self._session_key = stored.session_key
        next_cookie.note_changed(self)
        await self._finish_write_of(pending, stored)

    async def _delete(self, session_key: str | None = None) -> None:
        __traceback_hide__ = True
        key = await self._get_own_key() if session_key is None else session_key
        if key is not None and self._validate_session_key(key):
            self.ended_content = await self._repository().end(key, self._get_baseline(key))
            await announce_async(session_ended, self._id(key))

    async def _get_own_key(self) -> str | None:
        """Return the key of this session; if it was not loaded, its key may have changed."""
        __traceback_hide__ = True
        key = self.session_key
        if key is None or self._get_baseline(key) or not self._validate_session_key(key):
            return key
        if next_cookie.has_next(key, self._services.config.namespace):
            await self._read_key(key)
        return self.session_key

    async def _get_base(self) -> "LoadedVersion":
        """Return the baseline of this key; one that is read only now is never merged."""
        __traceback_hide__ = True
        key = self.session_key
        if (base := self._get_baseline(key)) is None:
            found = await self._read_key(key) if key else None
            if found is None:
                raise UpdateError
            base = replace(found[0], is_unseen=True)
            self._baseline = base
        return base

    async def _run_write(self, operation: str, write: Coroutine[Any, Any, None]) -> None:
        """Write, and record the outcome."""
        __traceback_hide__ = True
        try:
            with telemetry.spanned("operation", operation):
                await write
        except InvalidRecord as exc:
            reason = exc.reason
        else:
            return
        # Outside the handler: frames of the record's error hold keys.
        await repository.report_invalid_record(self._id(self._key), reason)
        raise UpdateError

    # Helpers

    def _is_sync_only(self, verb: Verb) -> bool:
        """Return True if a project overrides the sync method only."""
        return is_sync_only(type(self), SessionStore, verb)

    def _get_preparation(self) -> Wait | None:
        """Return the creation of the services, which imports modules and may use the network."""
        return None if _is_prepared() else BlockingCall(_prepare)

    @property
    def _services(self) -> "Services":
        return services.services()

    def _repository(self) -> "SessionRepository":
        return repository.SessionRepository.cached(self._services, self._codec)

    def _get_pending(self, key: str, sessions: "SessionRepository") -> "PendingSession":
        """Return a copy of the session: other threads of the request may still change it."""
        __traceback_hide__ = True
        content = dict(self._session_cache)
        payload, lifetime = self._codec.dumps(content), self._lifetime(content)
        return pending_sessions.PendingSession(key, content, payload, self._signed_in, lifetime)

    def _lifetime(self, own: Mapping[str, Any]) -> Lifetime:
        """Return the timeouts of sessions; ``own`` is the content of this one."""
        __traceback_hide__ = True

        def cookie_age(of: Mapping[str, Any]) -> float:
            __traceback_hide__ = True
            session = self if of is own else self._with_content(of)
            return session.get_session_cookie_age()

        return Lifetime(cookie_age, self._services.config.absolute_timeout)

    def _is_extended_by_visit(self) -> bool:
        __traceback_hide__ = True
        base = self._get_baseline(self.session_key)
        if base is None or self.modified:
            return False
        content, now = self._session_cache, self._services.clock()
        return not self._lifetime(content).is_about(base.ttl, content, now, base.created_at)

    def _with_content(self, content: Mapping[str, Any]) -> Self:
        """Return a copy of this session with merged content, for hooks of the project."""
        __traceback_hide__ = True
        session = copy(self)
        session._session_cache = dict(content)
        return session

    async def _finish_write_of(self, pending: "PendingSession", stored: "LoadedVersion") -> None:
        """Continue from the stored version; after a sign-in, apply the limit of sessions."""
        __traceback_hide__ = True
        self._continue_from(pending, stored)
        limit = self._services.config.max_sessions_per_user
        if limit is not None and pending.signed_in and stored.user_id is not None:
            self.ended_at_sign_in = await session_limit.end_surplus(self._services, stored, limit)

    def _continue_from(self, pending: "PendingSession", stored: "LoadedVersion") -> None:
        """Continue from the stored version, which may include changes of others."""
        __traceback_hide__ = True
        if stored.payload != pending.payload:
            content = self._codec.loads(stored.payload)
            merging.update_content(self._codec, self._session_cache, pending.payload, content)
        self._baseline = stored
        self._signed_in = False
        next_cookie.note_writer(self)

    def _get_baseline(self, session_key: str | None) -> "LoadedVersion | None":
        """Return the baseline if it has this key."""
        __traceback_hide__ = True
        base = self._baseline
        return None if base is None or base.session_key != session_key else base

    @property
    def _key(self) -> str:
        return cast("str", self.session_key)

    def _id(self, key: str) -> str:
        __traceback_hide__ = True
        return session_id(self._services.config.namespace, key)


def _is_prepared() -> bool:
    return is_imported(pending_sessions) and is_imported(services) and services.are_made()


def _prepare() -> None:
    """Import the modules for the first session, and create the services."""
    services.services()
    pending_sessions.PendingSession  # noqa: B018 - imports the repository as well


def _new_session_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)
